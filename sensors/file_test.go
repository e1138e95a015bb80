package sensors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

func fileSource(path string, scale float64) config.Source {
	return config.Source{
		Name: "f", Kind: "file", Path: path, Scale: scale, Field: config.Field{Name: "temperature", Unit: "Cel"},
		Every: 10 * time.Millisecond, Timeout: time.Second,
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileHoldsANumber(t *testing.T) {
	tests := []struct {
		text  string
		scale float64
		want  string
	}{
		{"21530\n", 0.001, `"fields":{"temperature":21.53}}`},
		{"1148\n", 0.001, `"fields":{"temperature":1.148}}`},
		{"-1250\n", 0.001, `"fields":{"temperature":-1.25}}`},
		{"42\n", 1, `"fields":{"temperature":42}}`},
		{"  1.5e2 ", 1, `"fields":{"temperature":150}}`},
		{"123456", 0.25, `"fields":{"temperature":30864}}`},
		{"10", 3, `"fields":{"temperature":30}}`},
		{"10", -1, `"fields":{"temperature":-10}}`},
		{"", 1, `"quality":"bad","why":"empty","fields":{}}`},
		{"\n", 1, `"quality":"bad","why":"empty","fields":{}}`},
		{"N/A\n", 1, `"quality":"bad","why":"not a number","fields":{"text":"N/A"}}`},
		{"1 2", 1, `"quality":"bad","why":"not a number","fields":{"text":"1 2"}}`},
		{"\xff", 1, `"quality":"bad","why":"not a number","fields":{"text":"` + "\uFFFD" + `"}}`},
		{strings.Repeat("9", 5000), 1, `"quality":"bad","why":"not a number","fields":{"text":"` + strings.Repeat("9", maxText) + `"}}`},
	}
	for _, test := range tests {
		path := filepath.Join(t.TempDir(), "number")
		write(t, path, test.text)
		c := fileSource(path, test.scale)
		o := options(newBook(), c)
		d, err := openFile(&c, &o)
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, d)
		var r record.Record
		if err := d.Read(&r); err != nil {
			t.Errorf("%q: %v", test.text, err)
		}
		r.Kind = record.Reading
		newSource(&c, kinds["file"], &o).judge(&r)
		if got := show(r); got != test.want {
			t.Errorf("%.40q × %v gave %s, expected %s", test.text, test.scale, got, test.want)
		}
	}
}

// An ordinary file may be replaced by another, be missing for a while, and is
// read again when it is there.
func TestFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "number")
	write(t, path, "1\n")
	b := newBook()
	set, stop := serve(t, options(b, fileSource(path, 1)))
	newest := func() float64 {
		all := b.of(record.Reading)
		if len(all) == 0 {
			return 0
		}
		v, _ := all[len(all)-1].Fields[0].Number()
		return v
	}
	until(t, "1 is read", func() bool { return newest() == 1 })
	write(t, path+".new", "2\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	until(t, "2 is read", func() bool { return newest() == 2 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	inState(t, set.Sources()[0], "error")
	write(t, path, "3\n")
	until(t, "3 is read", func() bool { return newest() == 3 })
	stop()
	b.sound(t)
	n := map[string]int{}
	for _, r := range b.all() {
		n[r.Event+r.Reason]++
		if r.Event == record.Failed && !strings.Contains(r.Why, "number: no such file or directory") {
			t.Errorf("why %q", r.Why)
		}
		if r.Kind == record.Gap && r.Count < 1 {
			t.Errorf("gap of %d", r.Count)
		}
	}
	if n[record.Failed] != 1 || n[record.Back] != 1 || n[record.Error] != 1 {
		t.Errorf("events and gaps: %v", n)
	}
}

// A file of the kernel stays open: reading it is one call and no garbage.
func TestFileOfTheKernelStaysOpen(t *testing.T) {
	c := fileSource("/proc/sys/kernel/pid_max", 1)
	o := options(newBook(), c)
	d, err := openFile(&c, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, d)
	var r record.Record
	if n := testing.AllocsPerRun(100, func() {
		fresh(&r)
		if err := d.Read(&r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
	if v, _ := r.Fields[0].Number(); v < 300 {
		t.Errorf("pid_max is %v", v)
	}
}

func TestFileUnderAnotherRoot(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "sys/class/thermal/thermal_zone0/temp"), "48312\n")
	b := newBook()
	o := options(b, fileSource("/sys/class/thermal/thermal_zone0/temp", 0.001))
	o.Root = root
	set, stop := serve(t, o)
	until(t, "a reading", func() bool { return len(b.of(record.Reading)) > 0 })
	stop()
	if got := show(b.all()[0]); got != `"fields":{"temperature":48.312}}` {
		t.Errorf("got %s", got)
	}
	if got, want := string(set.Sources()[0].Meta(nil)), `{"kind":"file","path":"/sys/class/thermal/thermal_zone0/temp","fields":[{"name":"temperature","unit":"Cel"}]}`; got != want {
		t.Errorf("meta %s", got)
	}
}

func BenchmarkFile(b *testing.B) {
	c := fileSource("/proc/sys/kernel/pid_max", 1)
	o := options(newBook(), c)
	d, err := openFile(&c, &o)
	if err != nil {
		b.Fatal(err)
	}
	defer closed(b, d)
	var r record.Record
	b.ReportAllocs()
	for range b.N {
		fresh(&r)
		if err := d.Read(&r); err != nil {
			b.Fatal(err)
		}
	}
}
