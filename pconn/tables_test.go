package pconn

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCallTableFollowsAMap puts calls in and takes them out at random, few and many at a time.
func TestCallTableFollowsAMap(t *testing.T) {
	var table callTable
	model := map[uint64]*call{}
	random := rand.New(rand.NewPCG(1, 2))
	last, gone := uint64(0), &call{tag: 1}
	for step := range 20_000 {
		most := []int{1, 3, 40, 1000}[step/5000]
		if len(model) < most && (len(model) == 0 || random.IntN(2) == 0) {
			c := &call{channel: random.Uint64N(3)}
			table.put(c)
			require.Greater(t, c.tag, last)
			last = c.tag
			model[c.tag] = c
		} else {
			for tag, c := range model {
				require.True(t, table.remove(c))
				require.False(t, table.remove(c))
				delete(model, tag)
				gone = c
				break
			}
		}
		require.Equal(t, len(model), table.n)
		require.Nil(t, table.at(gone.tag))
		if step%50 != 0 {
			continue
		}
		seen := 0
		table.all(func(c *call) {
			seen++
			require.Same(t, model[c.tag], c)
		})
		require.Equal(t, len(model), seen)
		for tag, c := range model {
			require.Same(t, c, table.at(tag))
			require.Same(t, c, table.find(c.channel, tag))
			require.Nil(t, table.find(c.channel+1, tag))
		}
	}
}

// TestIncomingTableFollowsAMap does the same with requests of the peer, whose tags repeat on several channels.
func TestIncomingTableFollowsAMap(t *testing.T) {
	type key struct{ channel, tag uint64 }
	table := incomingTable{seed: 0x1234567}
	model := map[key]*incoming{}
	random := rand.New(rand.NewPCG(3, 4))
	bytes := int64(0)
	for step := range 20_000 {
		most := []int{1, 3, 40, 1000}[step/5000]
		k := key{random.Uint64N(3), random.Uint64N(2000)}
		switch old := model[k]; {
		case old == nil && len(model) < most:
			in := &incoming{accepted: accepted{channel: k.channel, tag: k.tag, size: random.Int64N(100)}}
			table.put(in)
			model[k], bytes = in, bytes+in.size
		case old == nil && len(model) > 0:
			for k, in := range model {
				table.remove(in)
				bytes -= in.size
				delete(model, k)
				break
			}
		}
		require.Equal(t, len(model), table.n)
		require.Equal(t, bytes, table.bytes)
		require.Same(t, model[k], table.find(k.channel, k.tag))
		if step%50 != 0 {
			continue
		}
		seen := 0
		table.all(func(in *incoming) {
			seen++
			require.Same(t, model[key{in.channel, in.tag}], in)
		})
		require.Equal(t, len(model), seen)
	}
}
