// Package config reads the TOML file into final types, or says everything
// that is wrong with it, each mistake with file and line.
package config

import (
	"net/url"
	"regexp"
	"time"
)

// Config is a whole, valid configuration with defaults and placeholders filled in.
type Config struct {
	Device     string
	Clock      string // "ntp", "rtc" or "trust"
	Aggregator Aggregator
	Journal    Journal
	Uplink     Uplink
	HTTP       HTTP
	Sources    []Source
}

// Aggregator is the fixed buffer; sizes in bytes.
type Aggregator struct {
	Buffer    int
	MaxRecord int
}

// Journal is the folder on the card; sizes in bytes.
type Journal struct {
	Dir          string
	Sync         time.Duration
	MaxBytes     int64
	MinFree      int64
	SegmentBytes int64
	RequireMount bool // require = "mount"
}

// Uplink is the way to the broker. No Brokers: journal only. Sizes in bytes, 0: no bound.
type Uplink struct {
	Brokers       []*url.URL // scheme mqtt, mqtts, ws or wss; the port filled in
	ClientID      string
	Username      string
	PasswordFile  string
	CA            string
	Cert, Key     string
	ServerName    string
	Keepalive     time.Duration
	Topic         string // base topic, without a slash at its end
	HistoryTopic  string // the full topic of history
	Format        string // "json", "influx" or "thingsboard"
	Gzip          bool
	Message       int
	Every         time.Duration
	MaxBytes      int64
	Rate          int64
	MaxBytesDay   int64
	Between       []Span
	Live          time.Duration // 0: no live topics
	Status        time.Duration
	ClockWait     time.Duration
	Commands      []string
	HomeAssistant string // discovery prefix; "": none
}

// Span is a time of day, local, in minutes after midnight; To before From runs past midnight.
type Span struct{ From, To int }

// HTTP is the page and metrics listener; Listen "": none.
type HTTP struct {
	Listen    string
	TokenFile string
}

// Field is the name and unit of one value of a reading. Unit "": plain, may be text.
type Field struct{ Name, Unit string }

// Source is one [[source]]. Which fields mean something depends on Kind.
type Source struct {
	Name, Kind string
	Line       int // of the [[source]] in its file, for messages

	// every kind
	Every     time.Duration // of a port that sends by itself: how often it is expected to; 0: not known
	Timeout   time.Duration
	Min, Max  *float64
	Deadband  float64
	Heartbeat time.Duration
	Stale     time.Duration // the default, 3 × Every, filled in; 0: never
	Required  bool

	// i2c kinds
	Bus     string
	Address uint16

	// serial
	Port      string
	Baud      int
	DataBits  int
	Parity    string // "none", "odd", "even", "mark", "space"
	StopBits  float64
	Frame     string
	Delimiter []byte
	MaxLine   int
	Parse     string
	Pattern   *regexp.Regexp
	Fields    []Field // csv and simulate: in order; kv, json, regexp: units by name
	Start     string
	Poll      string

	// file
	Path  string
	Scale float64
	Field Field
}
