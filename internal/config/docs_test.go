package config

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The examples in README.md and docs/ have neither mistakes nor warnings.
func TestExamplesInTheDocuments(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range append(pages, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1) {
			found++
			if _, warnings, err := Parse(name, m[1], Identity{Hostname: "pi", MAC: "b827eb123456"}); err != nil || len(warnings) > 0 {
				t.Errorf("%s: %v, %v in\n%s", name, err, warnings, m[1])
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d examples found", found)
	}
}
