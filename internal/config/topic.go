package config

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTopic leaves room behind a topic, of which MQTT takes 65 535 bytes
// (MQTT 3.1.1, section 1.5.3), for /live/ and the name of a source.
const maxTopic = 65535 - 255

// level reports whether s can be one level of a topic (MQTT 3.1.1, section
// 4.7) and a label of a metric, of at most longest bytes.
func level(s string, longest int) bool {
	return s != "" && len(s) <= longest && !strings.ContainsAny(s, "/+#") && plain(s)
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// topic checks a topic to publish on.
func (d *decoder) topic(n *node, path, s string) {
	switch {
	case s == "" || strings.ContainsAny(s, "+#") || !plain(s):
		d.bad(n, "%s = %s: expected a topic without +, # and control characters", path, quote(s))
	case len(s) > maxTopic:
		d.bad(n, "%s = %s: expected a topic of at most %d bytes, found %d", path, quote(s), maxTopic, len(s))
	case s[0] == '$':
		d.bad(n, "%s = %s: expected another first letter: topics with $ belong to the broker", path, quote(s))
	}
}
