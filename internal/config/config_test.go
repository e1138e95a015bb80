package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// parse is the configuration in text, which is to have no mistake.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, _, err := Parse("t.toml", []byte(text), board)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// The file that names every key with its default gives what one gives that
// names only what has none.
func TestDefaults(t *testing.T) {
	whole, err := os.ReadFile("testdata/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, `
device = "greenhouse-1"
[uplink]
broker = "mqtts://a.example"
username = "gh1"
password_file = "/etc/edgeagg/password"
ca = "/etc/edgeagg/ca.pem"
[[source]]
name = "outside"
kind = "bme280"
bus = "/dev/i2c-1"
[[source]]
name = "scale"
kind = "serial"
port = "usb:0403:6001:A9XYZ"
parse = "csv"
fields = ["weight kg", "stable"]
[[source]]
name = "cpu"
kind = "file"
path = "/sys/class/thermal/thermal_zone0/temp"
scale = 0.001
field = "temperature Cel"
every = "30s"
`)
	want := parse(t, string(whole))
	for _, c := range []*Config{got, want} {
		for i := range c.Sources {
			c.Sources[i].Line = 0
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("defaults are\n%+v\nnot\n%+v", got, want)
	}
}

// Every key reaches its place in the Config, in its final type.
func TestEveryKey(t *testing.T) {
	got := parse(t, `
device = "d"
clock = "rtc"
[aggregator]
buffer = "1MiB"
max_record = 8_192
[journal]
dir = "relative/folder"
sync = "10ms"
max_bytes = "1.5GiB"
min_free = "0"
segment_bytes = 0x10000
require = "mount"
[uplink]
broker = ["mqtt://a", "mqtts://[::1]", "ws://c/mqtt", "wss://d:1"]
client_id = "c-{device}-{mac}"
username = "u"
password_file = "p"
ca = "ca.pem"
cert = "cert.pem"
key = "key.pem"
server_name = "s"
keepalive = "10s"
topic = "t/{serial}"
history_topic = "v1/devices/me/telemetry"
format = "thingsboard"
compress = "gzip"
message = "1KiB"
every = "1h"
max_bytes = 0
rate = "0"
max_bytes_day = "10MiB"
between = ["01:00-05:00", "22:30-01:00", "12:00-24:00"]
live = "0s"
status = "5m"
clock_wait = "0s"
commands = ["status", "resend"]
homeassistant = "homeassistant"
[http]
listen = "0.0.0.0:8484"
token_file = "token"
[[source]]
name = "a"
kind = "bme280"
bus = "/dev/i2c-3"
address = 0x77
every = "10ms"
timeout = "1s"
min = -5
max = 1.5
deadband = 0.5
heartbeat = "1m"
stale = "0s"
required = true
[[source]]
name = "b"
kind = "serial"
port = "by-id:usb-1a86"
baud = 4_800
data_bits = 7
parity = "even"
stop_bits = 1.5
frame = "line"
delimiter = "\r\n"
max_line = "64"
parse = "regexp"
pattern = '([0-9]+) (\w)'
fields = ["n count", "w"]
start = "\u0002"
poll = "?"
[[source]]
name = "c"
kind = "file"
path = "/c"
scale = 2
field = "n"
[[source]]
name = "d"
kind = "simulate"
fields = ["x"]
every = "1ms"
`)
	low, high := -5.0, 1.5
	want := &Config{
		Device: "d", Clock: "rtc",
		Aggregator: Aggregator{Buffer: 1 << 20, MaxRecord: 8192},
		Journal:    Journal{Dir: "relative/folder", Sync: 10 * time.Millisecond, MaxBytes: 3 << 29, SegmentBytes: 64 << 10, RequireMount: true},
		Uplink: Uplink{
			Brokers: got.Uplink.Brokers, ClientID: "c-d-b827ebcd5678", Username: "u", PasswordFile: "p",
			CA: "ca.pem", Cert: "cert.pem", Key: "key.pem", ServerName: "s", Keepalive: 10 * time.Second,
			Topic: "t/10000000abcd1234", HistoryTopic: "v1/devices/me/telemetry", Format: "thingsboard", Gzip: true,
			Message: 1024, Every: time.Hour, MaxBytesDay: 10 << 20,
			Between: []Span{{60, 300}, {1350, 60}, {720, 0}},
			Status:  5 * time.Minute, Commands: []string{"status", "resend"}, HomeAssistant: "homeassistant",
		},
		HTTP: HTTP{Listen: "0.0.0.0:8484", TokenFile: "token"},
	}
	line := Source{
		Timeout: 3 * time.Second, Address: 0x76, Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1,
		Frame: "line", Delimiter: []byte("\n"), MaxLine: 4096, Parse: "text", Scale: 1,
	}
	a, b, c, d := line, line, line, line
	a.Name, a.Kind, a.Line, a.Bus, a.Address = "a", "bme280", got.Sources[0].Line, "/dev/i2c-3", 0x77
	a.Every, a.Timeout, a.Min, a.Max, a.Deadband, a.Heartbeat, a.Required = 10*time.Millisecond, time.Second, &low, &high, 0.5, time.Minute, true
	b.Name, b.Kind, b.Line, b.Port, b.Baud, b.DataBits, b.Parity, b.StopBits = "b", "serial", got.Sources[1].Line, "by-id:usb-1a86", 4800, 7, "even", 1.5
	b.Delimiter, b.MaxLine, b.Parse, b.Start, b.Poll = []byte("\r\n"), 64, "regexp", "\x02", "?"
	b.Pattern, b.Fields = got.Sources[1].Pattern, []Field{{"n", "count"}, {"w", ""}}
	b.Every, b.Stale = 10*time.Second, 30*time.Second
	c.Name, c.Kind, c.Line, c.Path, c.Scale, c.Field = "c", "file", got.Sources[2].Line, "/c", 2, Field{"n", ""}
	c.Every, c.Stale = 10*time.Second, 30*time.Second
	d.Name, d.Kind, d.Line, d.Fields = "d", "simulate", got.Sources[3].Line, []Field{{"x", ""}}
	d.Every, d.Stale = time.Millisecond, 3*time.Millisecond
	want.Sources = []Source{a, b, c, d}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nnot\n%+v", got, want)
	}
	var urls []string
	for _, u := range got.Uplink.Brokers {
		urls = append(urls, u.String())
	}
	if want := "mqtt://a:1883 mqtts://[::1]:8883 ws://c:80/mqtt wss://d:1"; strings.Join(urls, " ") != want {
		t.Errorf("brokers are %v, not %s", urls, want)
	}
	if groups := b.Pattern.SubexpNames(); !reflect.DeepEqual(groups, []string{"", "n", "w"}) || !b.Pattern.MatchString("12 x") {
		t.Errorf("the groups of %v are %q", b.Pattern, groups)
	}
}

func TestSizesFitEachOther(t *testing.T) {
	for _, c := range []struct {
		text      string
		maxRecord int
		segment   int64
	}{
		{"", 4 << 10, 4 << 20},
		{"[aggregator]\nbuffer = \"4KiB\"", 2 << 10, 4 << 20},
		{"[journal]\nmax_bytes = \"8MiB\"", 4 << 10, 1 << 20},
		{"[journal]\nmax_bytes = \"128KiB\"", 4 << 10, 64 << 10},
		{"[journal]\nmax_bytes = \"128KiB\"\nsegment_bytes = \"64KiB\"", 4 << 10, 64 << 10},
	} {
		cfg := parse(t, c.text)
		if cfg.Aggregator.MaxRecord != c.maxRecord || cfg.Journal.SegmentBytes != c.segment {
			t.Errorf("%q: records of %d, segments of %d; expected %d, %d", c.text, cfg.Aggregator.MaxRecord, cfg.Journal.SegmentBytes, c.maxRecord, c.segment)
		}
	}
}

// A serial device that sends by itself is stale when it misses three times
// `every`, if that is given, else never.
func TestStaleOfSenders(t *testing.T) {
	const port = "[[source]]\nname = \"a\"\nkind = \"serial\"\nport = \"/dev/a\"\n"
	if s := parse(t, port).Sources[0]; s.Every != 0 || s.Stale != 0 {
		t.Errorf("without every: every %v, stale %v", s.Every, s.Stale)
	}
	if s := parse(t, port+`every = "1m"`).Sources[0]; s.Every != time.Minute || s.Stale != 3*time.Minute {
		t.Errorf("with every: every %v, stale %v", s.Every, s.Stale)
	}
}

func TestDevice(t *testing.T) {
	for _, c := range []struct {
		device string
		id     Identity
		want   string // or the error, behind "!"
	}{
		{"", board, "pi-1234"},
		{"", Identity{Hostname: "pi", MAC: "b8:27:eb:cd:56:78"}, "pi-5678"},
		{"", Identity{Hostname: "pi", Serial: "x"}, "pi-x"},
		{"", Identity{Hostname: "pi"}, "pi"},
		{"", Identity{}, "!t.toml:1: device = \"{hostname}\": this board has no hostname"},
		{"{hostname}.{serial}.{mac}", board, "pi.10000000abcd1234.b827ebcd5678"},
		{"{serial}", Identity{Hostname: "pi"}, "!t.toml:1: device = \"{serial}\": this board has no serial"},
		{"{device}", board, "!t.toml:1: device = \"{device}\": expected no braces but {hostname}, {serial}, {mac}"},
		{"a/b", board, "!t.toml:1: device = \"a/b\": expected a name without /, + and #, of 1 to 128 bytes"},
		{"a+", board, "!t.toml:1: device = \"a+\": expected a name without /, + and #, of 1 to 128 bytes"},
		{"{hostname}", Identity{Hostname: "serial", Serial: "x"}, "serial"},
		{strings.Repeat("x", 128), board, strings.Repeat("x", 128)},
	} {
		cfg, _, err := Parse("t.toml", []byte("device = \""+c.device+"\"\n"), c.id)
		var got string
		if err != nil {
			got = "!" + err.Error()
		} else if got = cfg.Device; cfg.Uplink.Topic != "edgeagg/"+got || cfg.Uplink.ClientID != "edgeagg-"+got || cfg.Uplink.HistoryTopic != "edgeagg/"+got+"/history" {
			t.Errorf("device %q: topics %q and %q, client %q", got, cfg.Uplink.Topic, cfg.Uplink.HistoryTopic, cfg.Uplink.ClientID)
		}
		if got != c.want {
			t.Errorf("device %q of %+v is %q, not %q", c.device, c.id, got, c.want)
		}
	}
}

func TestLongTopic(t *testing.T) {
	parse(t, "[uplink]\ntopic = \""+strings.Repeat("x", maxTopic)+"\"")
	_, _, err := Parse("t.toml", []byte("[uplink]\ntopic = \""+strings.Repeat("x", maxTopic+1)+"\""), board)
	if err == nil || !strings.Contains(err.Error(), "at most 65280 bytes, found 65281") || len(err.Error()) > 300 {
		t.Errorf("a topic that is too long: %v", err)
	}
}

// A file of a wrong kind ends in an error, whatever its size and shape.
func TestBounds(t *testing.T) {
	for want, data := range map[string][]byte{
		"t.toml: longer than 256KiB, which no configuration is":         make([]byte, maxFile+1),
		"arrays or tables inside each other, deeper than 32":            []byte("a = " + strings.Repeat("[", 40) + strings.Repeat("]", 40)),
		"t.toml:1: not TOML: invalid character at start of key: U+00FF": bytes.Repeat([]byte{0xff}, 1000),
	} {
		_, _, err := Parse("t.toml", data, board)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q, got %.200v", want, err)
		}
	}
	_, _, err := Parse("t.toml", bytes.Repeat([]byte("a: b\nc = d\n"), 1000), board)
	if told := strings.Split(err.Error(), "\n"); len(told) != maxBroken+1 || told[maxBroken] != "t.toml:38: more lines are not TOML; what follows was not read" {
		t.Errorf("of a file that is not TOML, %d mistakes are told, the last is %s", len(told), told[len(told)-1])
	}
}

func TestWindowsFile(t *testing.T) {
	if cfg := parse(t, "\uFEFFdevice = \"a\"\r\nclock = \"rtc\"\r\n"); cfg.Device != "a" || cfg.Clock != "rtc" {
		t.Errorf("got %+v", cfg)
	}
}

// examples are the files that a user copies.
const examples = "../../configs"

func TestExamples(t *testing.T) {
	files, err := filepath.Glob(examples + "/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, file := range files {
		cfg, warnings, err := Load(file, board)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", file, err, warnings)
			continue
		}
		for i := range cfg.Sources {
			s := &cfg.Sources[i]
			shown[s.Kind] = true
			if s.Pattern != nil && !s.Pattern.MatchString("ST,GS,   12.50kg") {
				t.Errorf("%s: %v does not match its example", file, s.Pattern)
			}
		}
	}
	for kind := range kinds {
		if !shown[kind] {
			t.Errorf("no example of kind %s in %s", kind, examples)
		}
	}
}

// What is commented out in the example that is installed is right too.
func TestCommentedExample(t *testing.T) {
	data, err := os.ReadFile(examples + "/edgeagg.toml")
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(?m)^#([a-z_]+ = |\[)`).ReplaceAll(data, []byte("$1"))
	cfg, warnings, err := Parse("edgeagg.toml", data, board)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if len(cfg.Uplink.Brokers) != 1 || len(cfg.Sources) != 3 || cfg.HTTP.Listen == "" {
		t.Errorf("not all of it was read: %+v", cfg)
	}
	// But for these, a comment shows the default.
	cfg.HTTP, cfg.Sources = HTTP{}, nil
	u := &cfg.Uplink
	u.Brokers, u.Username, u.PasswordFile, u.CA, u.Between, u.Gzip, u.Commands = nil, "", "", "", nil, false, nil
	if want := parse(t, `device = "greenhouse-1"`); !reflect.DeepEqual(cfg, want) {
		t.Errorf("the defaults are\n%+v\nnot\n%+v", want, cfg)
	}
}
