package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Identity is what the placeholders of device stand for; "" where the board
// has none.
type Identity struct{ Hostname, Serial, MAC string }

// Load reads file and the files conf.d/*.toml beside it. The warnings are not
// mistakes; err is Problems with all mistakes, or why a file cannot be read.
func Load(file string, id Identity) (cfg *Config, warnings []Problem, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(escape.Replace(filepath.Dir(file)), "conf.d", "*.toml"))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	d := &decoder{id: id}
	r := reader{root: &node{file: file, line: 1}, problems: &d.problems}
	r.read(file, data)
	slices.Sort(names)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			d.problems = append(d.problems, Problem{File: name, Text: err.Error()})
			continue
		}
		r.read(name, data)
	}
	return d.decode(r.root)
}

var escape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// Parse reads a configuration that stands in memory; name is for messages.
func Parse(name string, data []byte, id Identity) (cfg *Config, warnings []Problem, err error) {
	d := &decoder{id: id}
	r := reader{root: &node{file: name, line: 1}, problems: &d.problems}
	r.read(name, data)
	return d.decode(r.root)
}

func (d *decoder) decode(root *node) (*Config, []Problem, error) {
	c := &Config{
		Clock:      "ntp",
		Aggregator: Aggregator{Buffer: 512 << 10, MaxRecord: 4 << 10},
		Journal: Journal{
			Dir: "/var/lib/edgeagg", Sync: 5 * time.Second,
			MaxBytes: 2 << 30, MinFree: 64 << 20, SegmentBytes: 4 << 20,
		},
		Uplink: Uplink{
			ClientID: "edgeagg-{device}", Keepalive: 30 * time.Second, Topic: "edgeagg/{device}", Format: "json",
			Message: 8 << 10, Every: 30 * time.Second, MaxBytes: 4 << 20, Rate: 256 << 10,
			Live: 10 * time.Second, Status: 60 * time.Second, ClockWait: 10 * time.Minute,
		},
	}
	require, compress := "", "none"
	d.section(root, "", []key{
		{"device", text(&c.Device)},
		{"clock", oneOf(&c.Clock, "ntp", "rtc", "trust")},
		{"aggregator", func(v *value) {
			d.section(v.node, v.path, []key{
				{"buffer", size(&c.Aggregator.Buffer, 8<<10, 64<<20, "")},
				{"max_record", size(&c.Aggregator.MaxRecord, 256, 512<<10, "")},
			}, nil)
		}},
		{"journal", func(v *value) {
			d.section(v.node, v.path, []key{
				{"dir", text(&c.Journal.Dir)},
				{"sync", duration(&c.Journal.Sync, 10*time.Millisecond, "")},
				{"max_bytes", size(&c.Journal.MaxBytes, 256<<10, 1<<50, "")},
				{"min_free", size(&c.Journal.MinFree, 0, 1<<50, "")},
				{"segment_bytes", size(&c.Journal.SegmentBytes, 64<<10, 256<<20, "")},
				{"require", oneOf(&require, "", "mount")},
			}, nil)
		}},
		{"uplink", func(v *value) {
			u := &c.Uplink
			d.section(v.node, v.path, []key{
				{"broker", brokers(&u.Brokers)},
				{"client_id", text(&u.ClientID)},
				{"username", text(&u.Username)},
				{"password_file", text(&u.PasswordFile)},
				{"ca", text(&u.CA)},
				{"cert", text(&u.Cert)},
				{"key", text(&u.Key)},
				{"server_name", text(&u.ServerName)},
				{"keepalive", duration(&u.Keepalive, time.Second, "")},
				{"topic", text(&u.Topic)},
				{"history_topic", text(&u.HistoryTopic)},
				{"format", oneOf(&u.Format, "json", "influx", "thingsboard")},
				{"compress", oneOf(&compress, "none", "gzip")},
				{"message", size(&u.Message, 256, 1<<20, "")},
				{"every", duration(&u.Every, 10*time.Millisecond, "")},
				{"max_bytes", size(&u.MaxBytes, 1<<10, 1<<50, "no bound")},
				{"rate", size(&u.Rate, 256, 1<<50, "no bound")},
				{"max_bytes_day", size(&u.MaxBytesDay, 4<<10, 1<<50, "no bound")},
				{"between", spans(&u.Between)},
				{"live", duration(&u.Live, 10*time.Millisecond, "no live topics")},
				{"status", duration(&u.Status, 100*time.Millisecond, "")},
				{"clock_wait", duration(&u.ClockWait, 0, "")},
				{"commands", texts(&u.Commands, false, "status", "upload", "resend", "probe", "restart")},
				{"homeassistant", text(&u.HomeAssistant)},
			}, nil)
		}},
		{"http", func(v *value) {
			d.section(v.node, v.path, []key{
				{"listen", text(&c.HTTP.Listen)},
				{"token_file", text(&c.HTTP.TokenFile)},
			}, nil)
		}},
		{"source", func(v *value) {
			if !v.ofTable {
				v.expected("[[source]]")
				return
			}
			for _, n := range v.items {
				c.Sources = append(c.Sources, d.source(n))
			}
		}},
	}, nil)
	c.Journal.RequireMount = require == "mount"
	c.Uplink.Gzip = compress == "gzip"
	d.finish(c, root)
	if len(d.problems) > 0 {
		return nil, nil, Problems(sorted(d.problems))
	}
	return c, sorted(warn(c, root)), nil
}

// finish fills in what depends on other keys, and checks what concerns several.
func (d *decoder) finish(c *Config, root *node) {
	at := place(root, "device", root)
	id := d.id
	if c.Device == "" {
		tail := id.Serial
		if tail == "" {
			tail = id.MAC
		}
		c.Device = id.Hostname
		if tail != "" {
			c.Device += "-" + tail[max(0, len(tail)-4):]
		}
	}
	c.Device = d.fill(at, "device", c.Device, "hostname", id.Hostname, "serial", id.Serial, "mac", id.MAC)
	if !level(c.Device) {
		d.bad(at, "device = %q: expected a name without /, + and #, of at most 128 bytes", c.Device)
	}
	up := root.get("uplink")
	u := &c.Uplink
	words := []string{"device", c.Device, "hostname", id.Hostname, "serial", id.Serial, "mac", id.MAC}
	u.Topic = d.fill(place(up, "topic", root), "uplink.topic", u.Topic, words...)
	d.topic(place(up, "topic", root), "uplink.topic", u.Topic)
	u.ClientID = d.fill(place(up, "client_id", root), "uplink.client_id", u.ClientID, words...)
	if u.ClientID == "" {
		d.bad(place(up, "client_id", root), "uplink.client_id: expected a name: without one a broker cannot tell boards apart")
	}
	if u.HistoryTopic == "" {
		u.HistoryTopic = u.Topic + "/history"
	} else {
		u.HistoryTopic = d.fill(place(up, "history_topic", root), "uplink.history_topic", u.HistoryTopic, words...)
		d.topic(place(up, "history_topic", root), "uplink.history_topic", u.HistoryTopic)
	}
	if u.HomeAssistant != "" {
		d.topic(place(up, "homeassistant", root), "uplink.homeassistant", u.HomeAssistant)
	}
	if (u.Cert == "") != (u.Key == "") {
		d.bad(place(up, "cert", place(up, "key", root)), "uplink.cert and uplink.key: expected both or none")
	}
	if u.PasswordFile != "" && u.Username == "" {
		d.bad(place(up, "password_file", root), "uplink.password_file: expected uplink.username beside it")
	}
	if up != nil && len(u.Brokers) == 0 && up.get("broker") == nil && len(up.keys) > 0 {
		d.bad(up, "uplink: expected broker; without it there is nothing to send to, leave [uplink] out for journal only")
	}
	d.card(c, root)
	d.http(c, root)
	seen := map[string]*node{}
	if list := root.get("source"); list != nil && list.ofTable {
		for i, n := range list.items {
			name := c.Sources[i].Name
			if first := seen[name]; first != nil && name != "" {
				d.bad(place(n, "name", n), "source %q stands here again, first at %s:%d", name, first.file, first.line)
			}
			if seen[name] == nil {
				seen[name] = place(n, "name", n)
			}
		}
	}
	if len(c.Sources) == 0 && len(d.problems) == 0 {
		d.bad(root, "no source: expected at least one [[source]]")
	}
}

// card checks the sizes of buffer and journal against each other.
func (d *decoder) card(c *Config, root *node) {
	ag, jo := root.get("aggregator"), root.get("journal")
	if c.Journal.Dir == "" {
		d.bad(place(jo, "dir", root), "journal.dir: expected a folder")
	}
	if c.Aggregator.Buffer < 2*c.Aggregator.MaxRecord {
		d.bad(place(ag, "buffer", root), "aggregator.buffer = %s: expected room for at least two records of max_record %s", showSize(int64(c.Aggregator.Buffer)), showSize(int64(c.Aggregator.MaxRecord)))
	}
	if int64(c.Aggregator.MaxRecord) > c.Journal.SegmentBytes/2 {
		d.bad(place(jo, "segment_bytes", root), "journal.segment_bytes = %s: expected at least twice aggregator.max_record %s", showSize(c.Journal.SegmentBytes), showSize(int64(c.Aggregator.MaxRecord)))
	}
	if c.Journal.MaxBytes < 4*c.Journal.SegmentBytes {
		d.bad(place(jo, "max_bytes", root), "journal.max_bytes = %s: expected at least four segments of %s", showSize(c.Journal.MaxBytes), showSize(c.Journal.SegmentBytes))
	}
}

func (d *decoder) http(c *Config, root *node) {
	h := root.get("http")
	if c.HTTP.Listen == "" {
		return
	}
	at := place(h, "listen", root)
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil || port == "" {
		d.bad(at, "http.listen = %q: expected an address like \"127.0.0.1:8484\"", c.HTTP.Listen)
		return
	}
	ip := net.ParseIP(host)
	if (ip == nil || !ip.IsLoopback()) && host != "localhost" && c.HTTP.TokenFile == "" {
		d.bad(at, "http.listen = %q: expected http.token_file beside an address that others can reach", c.HTTP.Listen)
	}
}
