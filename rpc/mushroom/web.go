package mushroom

import (
	"embed"
	"io/fs"
)

//go:embed web/mushroom.js
var web embed.FS

// Web holds mushroom.js, an ES module with the browser's side of a session: what Dial is for pages.
// Its first lines show its use; http.FileServerFS serves it. The content does not change.
func Web() fs.FS {
	sub, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the embedded directory is always there
	}
	return sub
}
