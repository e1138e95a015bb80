package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: any file gives a configuration that holds what its types
// promise, or mistakes with their place.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.toml", "testdata/mistakes/*.toml", examples + "/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal("no files ", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, _, err := Parse("f.toml", data, board)
		if err != nil {
			var problems Problems
			if cfg != nil || !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("%v with %v", cfg, err)
			}
			for _, p := range problems {
				if p.File != "f.toml" || p.Line < 0 || p.Line > len(data)+1 || p.Text == "" {
					t.Fatalf("no place: %+v", p)
				}
			}
			return
		}
		j, a := &cfg.Journal, &cfg.Aggregator
		if !level(cfg.Device, maxDevice) || j.Sync <= 0 || j.SegmentBytes < minSegment || j.MaxBytes < 2*j.SegmentBytes || 2*a.MaxRecord > a.Buffer {
			t.Fatalf("%+v", cfg)
		}
		seen := map[string]bool{}
		for i := range cfg.Sources {
			s := &cfg.Sources[i]
			sh := kinds[s.Kind]
			if !level(s.Name, maxName) || seen[s.Name] || sh.keys == nil || s.Every < 0 || sh.every > 0 && s.Every < sh.fastest || s.Timeout <= 0 || len(s.Delimiter) == 0 {
				t.Fatalf("%+v", s)
			}
			seen[s.Name] = true
		}
	})
}
