package main

import (
	"strconv"
	"strings"

	"edgeagg/internal/record"
	"edgeagg/sensors"
)

// newestText is the newest reading of s for a person: its numbers, shortly.
func newestText(s *sensors.Source) string {
	p, n := s.Newest(nil)
	if n == 0 {
		return s.Status().State
	}
	var d record.Decoder
	var r record.Record
	if d.Decode(p, &r) != nil {
		return "?"
	}
	var words []string
	for _, f := range r.Fields {
		if v, ok := f.Number(); ok {
			words = append(words, strconv.FormatFloat(v, 'g', 5, 64))
		}
	}
	return strings.Join(words, "  ")
}
