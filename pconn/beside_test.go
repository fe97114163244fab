package pconn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBesideBulkIsForgotten shows what is taken for bulk with others beside it, and for how long.
func TestBesideBulkIsForgotten(t *testing.T) {
	var c Conn
	c.countBulk(bulkFrom)
	require.False(t, c.besideBulk(), "there is nothing but bulk")
	c.beside.bulk, c.st.company = 0, companyFor
	c.countBulk(bulkFrom - 1)
	require.False(t, c.besideBulk(), "a little data is no bulk")
	c.countBulk(bulkFrom)
	require.True(t, c.besideBulk())

	for range bulkFor - 1 {
		c.countOther()
		require.True(t, c.besideBulk())
	}
	c.countOther()
	require.False(t, c.besideBulk(), "the bulk is over")
	c.countOther()
	require.False(t, c.besideBulk())

	c.st.company = companyFor
	c.countBulk(companyFor / 2)
	require.True(t, c.besideBulk())
	c.countBulk(companyFor / 2)
	require.False(t, c.besideBulk(), "the others are forgotten")
}
