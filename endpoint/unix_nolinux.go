//go:build !linux

package endpoint

// hasAbstract says that Unix sockets may have a name and no file.
const hasAbstract = false
