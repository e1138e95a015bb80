package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder writes files into a new folder; * and ? in its name must not matter.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a[b]*?")
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadMerges(t *testing.T) {
	dir := folder(t, map[string]string{
		"edgeagg.toml":          "[journal]\nsync = \"1s\"\n[[source]]\nname = \"a\"\nkind = \"simulate\"\nfields = [\"x\"]\n",
		"conf.d/20-b.toml":      "[[source]]\nname = \"b\"\nkind = \"simulate\"\nfields = [\"x\"]\n",
		"conf.d/10-site.toml":   "device = \"site\"\n[journal]\nmax_bytes = \"1GiB\"\n[uplink]\nbroker = \"mqtt://a\"\n",
		"conf.d/readme.txt":     "not read",
		"conf.d/more/deep.toml": "clock = 3",
	})
	cfg, _, err := Load(filepath.Join(dir, "edgeagg.toml"), board)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Device != "site" || cfg.Journal.Sync != 1e9 || cfg.Journal.MaxBytes != 1<<30 || len(cfg.Uplink.Brokers) != 1 {
		t.Errorf("got %+v", cfg)
	}
	if len(cfg.Sources) != 2 || cfg.Sources[0].Name != "a" || cfg.Sources[1].Name != "b" || cfg.Sources[1].Line != 1 {
		t.Errorf("sources are %+v", cfg.Sources)
	}
}

// All mistakes of all files are told, also when one of them is not TOML.
func TestLoadTellsAll(t *testing.T) {
	dir := folder(t, map[string]string{
		"edgeagg.toml":     "device = \"a\"\n[journal]\nsync = \"5\"\nmin_free = \"1MiB\"\n[[source]]\nname = \"a\"\nkind = \"simulate\"\nfields = [\"x\"]\n",
		"conf.d/1.toml":    "device = \"b\"\n[journal]\nmin_free = \"2MiB\"\n[journal]\n",
		"conf.d/2.toml":    "[[source]]\nname = \"a\"\nkind = \"simulate\"\nfields = [\"x\"]\n",
		"conf.d/3.toml":    "[[[\n[source.x]\n",
		"conf.d/d.toml/in": "",
	})
	main, d := filepath.Join(dir, "edgeagg.toml"), filepath.Join(dir, "conf.d")
	_, _, err := Load(main, board)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error is %v, not Problems", err)
	}
	want := strings.NewReplacer("MAIN", main, "CONF", d).Replace(`CONF/1.toml:1: device stands here again, first at MAIN:1
CONF/1.toml:3: journal.min_free stands here again, first at MAIN:4
CONF/1.toml:4: journal stands here again, first at MAIN:2
CONF/2.toml:2: source "a" stands here again, first at MAIN:6
CONF/3.toml:1: not TOML: invalid character at start of key: U+005B '['
CONF/3.toml:2: source.x: expected [[source]] above it in this file
CONF/d.toml: read CONF/d.toml: is a directory
MAIN:3: journal.sync = "5": expected a duration of at least 10ms, for example "30s"`)
	if err.Error() != want {
		t.Errorf("told:\n%v\nnot:\n%s", err, want)
	}
}

func TestLoadMissing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "edgeagg.toml")
	_, _, err := Load(name, board)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}

// A file without end is not read to its end.
func TestLoadEndless(t *testing.T) {
	_, _, err := Load("/dev/zero", board)
	if err == nil || err.Error() != "/dev/zero: longer than 256KiB, which no configuration is" {
		t.Errorf("got %v", err)
	}
}
