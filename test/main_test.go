// Package test runs the built binary as its users do: against a real broker
// process, real ttys and a real file system.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// edgeagg is the binary under test.
var edgeagg string

func TestMain(m *testing.M) {
	edgeagg = os.Getenv("EDGEAGG")
	if edgeagg == "" {
		dir, err := os.MkdirTemp("", "edgeagg-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		edgeagg = filepath.Join(dir, "edgeagg")
		build := exec.Command("go", "build", "-o", edgeagg, "./cmd/edgeagg")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s", out)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// Each file under testdata/script is what a user does with one command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(edgeagg)+string(os.PathListSeparator)+os.Getenv("PATH"))
			return nil
		},
	})
}

// The commands in README.md do what they say, with folders of the test's own.
func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```console\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("no commands")
	}
	card := filepath.Join(t.TempDir(), "card")
	conf := config(t, simulated, card)
	fill(t, conf, card, 20)
	ran := 0
	for line := range strings.Lines(string(block[1])) {
		line = strings.NewReplacer("/etc/edgeagg/edgeagg.toml", conf, "/var/lib/edgeagg", card, "configs/", "../configs/").Replace(strings.TrimSpace(line))
		args := strings.Fields(line)
		if args[0] != "edgeagg" {
			t.Fatalf("not a command: %s", line)
		}
		if ran++; args[1] == "run" {
			fill(t, conf, card, 40)
			continue
		}
		if out, err := exec.Command(edgeagg, args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
	}
	if ran < 4 {
		t.Errorf("only %d commands", ran)
	}
}
