package importrules

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Scan reads the imports of every Go file in a module, for whatever platform it is. Directories with a go.mod of
// their own are other modules; testdata and what begins with . or _ is not Go's to read.
func Scan(module fs.FS) ([]Package, error) {
	byPath := map[string]*Package{}
	err := fs.WalkDir(module, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(module, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		return scanFile(module, name, byPath)
	})
	if err != nil {
		return nil, err
	}
	list := make([]Package, 0, len(byPath))
	for _, p := range byPath {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Package) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func enter(module fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	_, err := fs.Stat(module, path.Join(dir, "go.mod"))
	if err == nil {
		return fs.SkipDir
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func scanFile(module fs.FS, name string, byPath map[string]*Package) error {
	text, err := fs.ReadFile(module, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
	if err != nil {
		return fmt.Errorf("reading imports: %w", err)
	}
	dir := path.Dir(name)
	if dir == "." {
		dir = ""
	}
	p := byPath[dir]
	if p == nil {
		p = &Package{Path: dir}
		byPath[dir] = p
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		if strings.HasSuffix(name, "_test.go") {
			p.TestImports = append(p.TestImports, imported)
		} else {
			p.Imports = append(p.Imports, imported)
		}
	}
	return nil
}
