package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var here = Identity{Hostname: "pi", Serial: "10000000abcd1234", MAC: "b827eb123456"}

const one = "\n[[source]]\nname = \"a\"\nkind = \"simulate\"\nfields = [\"t Cel\"]\n"

func TestDefaults(t *testing.T) {
	c, warnings, err := Parse("c.toml", []byte(one), here)
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	if c.Device != "pi-1234" || c.Clock != "ntp" || c.Aggregator.Buffer != 512<<10 || c.Aggregator.MaxRecord != 4<<10 {
		t.Errorf("%+v", c)
	}
	if j := c.Journal; j.Dir != "/var/lib/edgeagg" || j.Sync != 5*time.Second || j.MaxBytes != 2<<30 || j.MinFree != 64<<20 || j.SegmentBytes != 4<<20 || j.RequireMount {
		t.Errorf("%+v", j)
	}
	u := c.Uplink
	if len(u.Brokers) != 0 || u.ClientID != "edgeagg-pi-1234" || u.Topic != "edgeagg/pi-1234" || u.HistoryTopic != "edgeagg/pi-1234/history" || u.Format != "json" || u.Gzip ||
		u.Message != 8<<10 || u.Every != 30*time.Second || u.MaxBytes != 4<<20 || u.Rate != 256<<10 || u.MaxBytesDay != 0 || u.Live != 10*time.Second ||
		u.Status != time.Minute || u.ClockWait != 10*time.Minute || u.Keepalive != 30*time.Second || len(u.Commands) != 0 || u.HomeAssistant != "" {
		t.Errorf("%+v", u)
	}
	if s := c.Sources[0]; s.Every != time.Second || s.Stale != 3*time.Second || s.Fields[0] != (Field{"t", "Cel"}) {
		t.Errorf("%+v", s)
	}
	// Without a serial number the MAC tells boards apart.
	if c, _, err = Parse("c.toml", []byte(one), Identity{Hostname: "pi", MAC: "b827eb123456"}); err != nil || c.Device != "pi-3456" {
		t.Errorf("%v, %v", c, err)
	}
}

func TestValues(t *testing.T) {
	c, _, err := Parse("c.toml", []byte(`
device = "{hostname}-{mac}"
[uplink]
broker = ["mqtts://a.example", "ws://b.example/mqtt"]
client_id = "x-{device}"
topic = "site/{device}"
history_topic = "v1/devices/me/telemetry"
compress = "gzip"
between = ["01:00-05:00", "22:00-24:00"]
max_bytes = "0"
live = "0s"
rate = "1.5KiB"
commands = ["status", "resend"]
[http]
listen = "[::1]:8484"
[[source]]
name = "scale"
kind = "serial"
port = "/dev/ttyUSB0"
baud = 19_200
stop_bits = 2
delimiter = "\r\n"
max_line = "1KiB"
parse = "regexp"
pattern = '(?P<w>[0-9.]+) kg'
fields = ["w kg"]
poll = "P\r\n"
every = "2s"
min = 0
max = 99.5
`), here)
	if err != nil {
		t.Fatal(err)
	}
	u := c.Uplink
	if c.Device != "pi-b827eb123456" || u.Brokers[0].String() != "mqtts://a.example:8883" || u.Brokers[1].String() != "ws://b.example:80/mqtt" ||
		u.ClientID != "x-"+c.Device || u.Topic != "site/"+c.Device || u.HistoryTopic != "v1/devices/me/telemetry" || !u.Gzip ||
		u.Between[0] != (Span{60, 300}) || u.Between[1] != (Span{22 * 60, 0}) || u.MaxBytes != 0 || u.Live != 0 || u.Rate != 1536 || len(u.Commands) != 2 {
		t.Errorf("%+v", u)
	}
	s := c.Sources[0]
	if s.Baud != 19200 || s.StopBits != 2 || string(s.Delimiter) != "\r\n" || s.MaxLine != 1024 || s.Pattern == nil || s.Every != 2*time.Second || *s.Min != 0 || *s.Max != 99.5 || s.Line != 16 {
		t.Errorf("%+v", s)
	}
}

// Each mistake is named with its line, what was found and what was expected.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{"a = [", "c.toml:1: not TOML"},
		{"device = 3" + one, "c.toml:1: device = 3: expected a string"},
		{"device = \"a/b\"" + one, `c.toml:1: device = "a/b": expected a name without`},
		{"device = \"{serail}\"" + one, "expected only {hostname}, {serial}, {mac} in braces, found {serail}"},
		{"clock = \"gps\"" + one, `c.toml:1: clock = "gps": expected one of "ntp", "rtc", "trust"`},
		{"journal = 1" + one, "c.toml:1: journal = 1: expected a table"},
		{"[journal]\nsync = 5" + one, `c.toml:2: journal.sync = 5: expected a duration of at least 10ms`},
		{"[journal]\nsync = \"1ms\"" + one, "expected a duration of at least 10ms"},
		{"[journal]\nsegment_bytes = \"1KiB\"" + one, "expected a size from 64KiB"},
		{"[journal]\nmax_bytes = \"1MiB\"" + one, "expected at least four segments of 4MiB"},
		{"[aggregator]\nbuffer = \"8KiB\"\nmax_record = \"8KiB\"" + one, "expected room for at least two records"},
		{"[uplink]\ntopic = \"a/#\"\nbroker = \"mqtt://h\"" + one, `c.toml:2: uplink.topic = "a/#": expected a topic without`},
		{"[uplink]\ntopic = \"$SYS/a\"\nbroker = \"mqtt://h\"" + one, "belong to the broker"},
		{"[uplink]\nbroker = \"mqtt://u:p@h\"" + one, `c.toml:2: uplink.broker = "mqtt://u:xxxxx@h": expected no login in the URL`},
		{"[uplink]\nbroker = \"mqtt://h\"\ncert = \"x\"" + one, "expected both or none"},
		{"[uplink]\nbroker = \"mqtt://h\"\ncommands = [\"dance\"]" + one, `= "dance": expected one of status, upload`},
		{"[uplink]\nbroker = \"mqtt://h\"\nbetween = [\"25:00-26:00\"]" + one, "expected local times like"},
		{"[uplink]\nevery = \"1s\"" + one, "c.toml:1: uplink: expected broker"},
		{"[http]\nlisten = \"0.0.0.0:80\"" + one, "c.toml:2: http.listen = \"0.0.0.0:80\": expected http.token_file"},
		{"[http]\nlisten = \"80\"" + one, "expected an address like"},
		{one + one, `c.toml:8: source "a" stands here again, first at c.toml:3`},
		{"[[source]]\nkind = \"file\"", "c.toml:1: source: name is missing"},
		{"[[source]]\nname = \"a\"", `c.toml:1: source "a": kind is missing`},
		{"[[source]]\nname = \"a\"\nkind = \"simulate\"\nfields = []", "expected at least one field"},
		{"[[source]]\nname = \"a\"\nkind = \"simulate\"\nfields = [\"a\", \"a\"]", "stands there twice"},
		{"[[source]]\nname = \"a\"\nkind = \"serial\"\nport = \"/dev/x\"\nparse = \"csv\"", "fields is missing"},
		{"[[source]]\nname = \"a\"\nkind = \"serial\"\nport = \"/dev/x\"\nparse = \"regexp\"\npattern = \"(\"", "expected a regular expression"},
		{"[[source]]\nname = \"a\"\nkind = \"serial\"\nport = \"/dev/x\"\nevery = \"1s\"", "expected poll beside it"},
		{"[[source]]\nname = \"a\"\nkind = \"serial\"\nport = \"/dev/x\"\nframe = \"modbus\"", "expected one of \"line\""},
		{"[[source]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\nfield = \"a\"\nevery = \"1ms\"", "expected a duration of at least 10ms"},
		{"[[source]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\nfield = \"a b c\"", "expected a name and perhaps a unit"},
		{"source = 1", "expected [[source]]"},
		{"", "no source"},
		{"x = " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + one, "nested deeper"},
	} {
		_, _, err := Parse("c.toml", []byte(c.toml), here)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n%v, expected\n%s", c.toml, err, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{strings.Replace(one, "Cel", "celsius", 1), `c.toml:5: source "a": unit "celsius" of t is no SenML unit`},
		{"[uplink]\nbroker = \"mqtt://h\"\nusername = \"u\"" + one, "in the clear"},
		{"[uplink]\nbroker = \"mqtt://h\"\nmax_bytes = \"1KiB\"\nevery = \"1h\"" + one, "the backlog will grow"},
		{"[uplink]\nbroker = \"mqtt://h\"\nmax_bytes_day = \"4KiB\"" + one, "max_bytes_day lets 4096 through"},
		{"[uplink]\nbroker = \"mqtt://h\"\nclock_wait = \"0s\"" + one, "before the clock is set"},
		{"[journal]\nsync = \"10ms\"" + strings.Replace(one, "fields", "every = \"10ms\"\nfields", 1), "wear a card of 8 GB"},
	} {
		_, w, err := Parse("c.toml", []byte(c.toml), here)
		if err != nil || len(w) != 1 || !strings.Contains(w[0].String(), c.want) {
			t.Errorf("%q: %v, %v, expected %s", c.toml, err, w, c.want)
		}
	}
}

// The examples that are handed out have neither mistakes nor warnings.
func TestExamples(t *testing.T) {
	names, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(names) < 5 {
		t.Fatalf("%d examples: %v", len(names), err)
	}
	for _, name := range names {
		if _, warnings, err := Load(name, here); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", name, err, warnings)
		}
	}
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
			if _, warnings, err := Parse(name, m[1], here); err != nil || len(warnings) > 0 {
				t.Errorf("%s: %v, %v in\n%s", name, err, warnings, m[1])
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d examples found", found)
	}
}

func TestFilesAreMerged(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("e.toml", "device = \"x\"\n[journal]\nsync = \"1s\"\n"+one)
	write("conf.d/b.toml", "[journal]\nmin_free = \"1MiB\"\n"+strings.Replace(one, `"a"`, `"b"`, 1))
	c, _, err := Load(filepath.Join(dir, "e.toml"), here)
	if err != nil || len(c.Sources) != 2 || c.Journal.Sync != time.Second || c.Journal.MinFree != 1<<20 {
		t.Fatalf("%+v, %v", c, err)
	}
	write("conf.d/c.toml", "[journal]\nsync = \"2s\"\n")
	write("conf.d/d.toml", "[[[\n")
	_, _, err = Load(filepath.Join(dir, "e.toml"), here)
	if err == nil || !strings.Contains(err.Error(), "c.toml:2: sync stands here again, first at "+filepath.Join(dir, "e.toml")+":3") || !strings.Contains(err.Error(), "d.toml:1: not TOML") {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a = 1\n[b.c]\nd = [1, {x = 2}]\n[[source]]\nname = \"a\"\n[[source.register]]\nz = 1979-05-27T07:32:00Z")
	f.Add(one)
	f.Add("[uplink]\nbroker = [\"mqtt://h\"]\nbetween = [\"01:00-02:00\"]\n" + one)
	f.Fuzz(func(t *testing.T, s string) {
		c, _, err := Parse("c.toml", []byte(s), here)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
	})
}
