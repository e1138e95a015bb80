// Package test runs the built binary as its users do: against a real broker
// process, real ttys and a real file system.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
