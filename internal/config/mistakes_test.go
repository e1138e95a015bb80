package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var board = Identity{Hostname: "pi", Serial: "10000000abcd1234", MAC: "b827ebcd5678"}

// TestMistakes reads files in which a comment #! above a line says what is
// wrong with it: these mistakes are told, with file and line, and no others.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want, above []string
			for i, line := range strings.Split(string(data), "\n") {
				if says, ok := strings.CutPrefix(line, "#! "); ok {
					above = append(above, says)
					continue
				}
				for _, says := range above {
					want = append(want, fmt.Sprintf("%s:%d: %s", name, i+1, says))
				}
				above = nil
			}
			cfg, warnings, err := Parse(name, data, board)
			if cfg != nil || warnings != nil {
				t.Errorf("a configuration with mistakes gives %v, %v", cfg, warnings)
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is %v, not Problems", err)
			}
			got := strings.Split(problems.Error(), "\n")
			for _, line := range got {
				if !slices.Contains(want, line) {
					t.Errorf("told: %s", line)
				}
			}
			for _, line := range want {
				if !slices.Contains(got, line) {
					t.Errorf("not told: %s", line)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d mistakes told, %d there", len(got), len(want))
			}
		})
	}
}
