// Package page is what a person or a program sees of a running edgeagg.
package page

import (
	"encoding/json"
	"time"
)

// Status is what the running edgeagg is doing: the payload of the topic
// status. Times are RFC 3339 in UTC, sizes bytes, durations seconds.
type Status struct {
	At      time.Time         `json:"at"`
	Device  string            `json:"device"`
	Version string            `json:"version"`
	Boot    string            `json:"boot"`   // the kernel's boot id
	Uptime  float64           `json:"uptime"` // of the process
	Clock   Clock             `json:"clock"`
	Card    Card              `json:"card"`
	Journal Journal           `json:"journal"`
	In      float64           `json:"in"`  // records per second into the journal since the last status
	Out     float64           `json:"out"` // records per second acknowledged by the broker since then
	Buffer  Buffer            `json:"buffer"`
	Uplink  any               `json:"uplink,omitempty"`
	Sources map[string]Source `json:"sources"`
}

// Clock is the state of the wall clock.
type Clock struct {
	Set   bool   `json:"set"`
	Trust string `json:"trust"` // the config's clock
}

// Card is the file system that the journal is on.
type Card struct {
	Mount    string `json:"mount"`
	Type     string `json:"type"`
	Free     int64  `json:"free"`
	Total    int64  `json:"total"`
	ReadOnly bool   `json:"read_only"`
	Warning  string `json:"warning,omitempty"` // why records on it would not last
	Error    string `json:"error,omitempty"`   // what the card last refused
}

// Journal is the state of the folder of segments.
type Journal struct {
	ID       string   `json:"id"`
	First    uint64   `json:"first"`    // seq of the oldest record kept
	Next     uint64   `json:"next"`     // seq of the next record
	Synced   uint64   `json:"synced"`   // seq up to which records are safe
	Uploaded uint64   `json:"uploaded"` // seq up to which the broker has acknowledged
	Lost     uint64   `json:"lost"`     // records that gaps name as missing, where they can be counted
	Bytes    int64    `json:"bytes"`
	MaxBytes int64    `json:"max_bytes"`
	DaysFull *float64 `json:"days_until_full"` // at the present rate; null while it is not known
}

// Buffer is the state of the aggregator.
type Buffer struct {
	Records int64 `json:"records"` // accepted, not yet in the journal
	Bytes   int64 `json:"bytes"`
	Waiting int64 `json:"waiting"` // writers that wait for room
}

// Source is the state of one source.
type Source struct {
	State    string            `json:"state"` // starting, ok, stale, unplugged, error
	Last     *time.Time        `json:"last"`  // of the newest reading; null before the first
	Readings uint64            `json:"readings"`
	Errors   map[string]uint64 `json:"errors,omitempty"` // by reason
	Lost     map[string]uint64 `json:"lost,omitempty"`   // by reason, where they can be counted
}

// Append adds the JSON object of s to dst.
func (s *Status) Append(dst []byte) []byte {
	p, err := json.Marshal(s)
	if err != nil { // only numbers that are not finite could do that
		return append(dst, "{}"...)
	}
	return append(dst, p...)
}
