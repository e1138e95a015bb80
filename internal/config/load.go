package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads file and merges the files conf.d/*.toml beside it, in the order
// of their names. A key may stand in one of them only; their sources add up.
//
// The warnings are not mistakes. The error is Problems, with all mistakes of
// all files, or says why file itself cannot be read.
func Load(file string, id Identity) (cfg *Config, warnings []Problem, err error) {
	data, err := read(file)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	more, err := filepath.Glob(filepath.Join(literally.Replace(filepath.Dir(file)), "conf.d", "*.toml"))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: files beside %s: %w", file, err)
	}
	slices.Sort(more)
	d := newDecoder(file, id)
	d.files.add(file, data)
	for _, name := range more {
		data, err := read(name)
		if err != nil {
			d.problems = append(d.problems, Problem{File: name, Text: err.Error()})
			continue
		}
		d.files.add(name, data)
	}
	return d.decode()
}

// Parse reads a configuration from memory; name stands for it in messages.
// Its results are those of Load.
func Parse(name string, data []byte, id Identity) (cfg *Config, warnings []Problem, err error) {
	d := newDecoder(name, id)
	d.files.add(name, data)
	return d.decode()
}

// literally keeps filepath.Glob from taking a folder's name as a pattern.
var literally = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// read reads a file, of a wrong one no more than shows that it is wrong.
func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}
