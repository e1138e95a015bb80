package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "edgeagg.toml")
	source := "[[source]]\nname = \"a\"\nkind = \"simulate\"\n"
	for _, c := range []struct {
		name, text       string
		code             int
		stdout, inStderr string // FILE stands for the file
	}{
		{"sound", "device = \"d\"\n" + source + "fields = [\"x\"]\n", 0,
			"FILE: ok: device d, sources: 1, no broker, journal only\n", ""},
		{"a broker", "device = \"d\"\n[uplink]\nbroker = \"mqtts://b\"\n" + source + "fields = [\"x\"]\n", 0,
			"FILE: ok: device d, sources: 1, uplink to mqtts://b:8883\n", ""},
		{"a warning", "device = \"d\"\n" + source + "fields = [\"x bananas\"]\n", 0,
			"FILE:5: warning: source \"a\": unit \"bananas\" of x is not a SenML name; it is kept as it is\nFILE: ok: device d, sources: 1, no broker, journal only\n", ""},
		{"mistakes", "devise = \"d\"\n" + source, 1,
			"FILE:1: devise: unknown key (did you mean device?)\nFILE:2: source \"a\": fields is missing\n", ""},
		{"no file", "", 1, "", "open FILE: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == "" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code := dispatch([]string{"check", "-c", file}, &stdout, &stderr)
			named := strings.NewReplacer("FILE", file)
			if code != c.code || stdout.String() != named.Replace(c.stdout) {
				t.Errorf("exit %d:\n%sexpected %d:\n%s", code, &stdout, c.code, named.Replace(c.stdout))
			}
			if says := stderr.String(); (c.inStderr == "") != (says == "") || !strings.Contains(says, named.Replace(c.inStderr)) {
				t.Errorf("standard error is %q", says)
			}
		})
	}
}

func TestCheckUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{{"check -h", 0}, {"check -x", 2}, {"check file", 2}} {
		var stdout, stderr bytes.Buffer
		if code := dispatch(strings.Fields(c.args), &stdout, &stderr); code != c.code {
			t.Errorf("%s: exit %d, not %d", c.args, code, c.code)
		}
		out := &stdout
		if c.code != 0 {
			out = &stderr
		}
		if !strings.Contains(out.String(), "edgeagg check -c /etc/edgeagg/edgeagg.toml") {
			t.Errorf("%s shows no example: %s", c.args, out)
		}
	}
}
