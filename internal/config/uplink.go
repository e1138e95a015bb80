package config

import (
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// ports are the usual ones of each scheme.
var ports = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// brokers takes one URL or an array of them; "" is none.
func brokers(to *[]*url.URL) func(*value) {
	return func(v *value) {
		*to = nil
		for _, n := range v.strings(true) {
			if n == v.node && n.text == "" {
				return
			}
			if u := v.of(n).broker(); u != nil {
				*to = append(*to, u)
			}
		}
	}
}

// login is where a URL may hold a password.
var login = regexp.MustCompile(`//.*@`)

func (v *value) broker() *url.URL {
	u, err := url.Parse(v.text)
	shown := *v.node
	shown.text = login.ReplaceAllString(v.text, "//…@") // a password does not belong into a log
	v = v.of(&shown)
	if err != nil || u.Hostname() == "" || ports[u.Scheme] == "" {
		v.expected("a URL with mqtt, mqtts, ws or wss, for example \"mqtts://broker.example:8883\"")
		return nil
	}
	if u.User != nil {
		v.expected("no login in the URL: use uplink.username and uplink.password_file")
		return nil
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), ports[u.Scheme])
	}
	if p, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || p == 0 {
		v.expected("a port from 1 to 65535")
		return nil
	}
	if strings.HasPrefix(u.Scheme, "mqtt") && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "") {
		v.expected("nothing behind the port")
		return nil
	}
	return u
}

// uplink fills in names and topics, and checks what belongs together.
func (d *decoder) uplink(c *Config) {
	up, u := d.files.root.get("uplink"), &c.Uplink
	fill := func(key, s string) string {
		return d.fill(d.place(up, key), "uplink."+key, s, append(d.identity(), word{"device", c.Device}))
	}
	u.ClientID = fill("client_id", u.ClientID)
	if u.ClientID == "" || len(u.ClientID) > 65535 {
		d.bad(d.place(up, "client_id"), "uplink.client_id = %s: expected a name that no other client of the broker has", quote(u.ClientID))
	}
	u.Topic = fill("topic", u.Topic)
	d.topic(d.place(up, "topic"), "uplink.topic", u.Topic)
	if strings.HasSuffix(u.Topic, "/") {
		d.bad(d.place(up, "topic"), "uplink.topic = %s: expected no slash at its end", quote(u.Topic))
	}
	if u.HistoryTopic == "" {
		u.HistoryTopic = u.Topic + "/history"
	} else {
		u.HistoryTopic = fill("history_topic", u.HistoryTopic)
		d.topic(d.place(up, "history_topic"), "uplink.history_topic", u.HistoryTopic)
	}
	if u.HomeAssistant != "" {
		d.topic(d.place(up, "homeassistant"), "uplink.homeassistant", u.HomeAssistant)
	}
	if u.Cert != "" && u.Key == "" {
		d.bad(d.place(up, "cert"), "uplink.cert = %s: expected uplink.key beside it", quote(u.Cert))
	}
	if u.Key != "" && u.Cert == "" {
		d.bad(d.place(up, "key"), "uplink.key = %s: expected uplink.cert beside it", quote(u.Key))
	}
	if u.PasswordFile != "" && u.Username == "" {
		// MQTT 3.1.1, section 3.1.2.9: no password without a user name.
		d.bad(d.place(up, "password_file"), "uplink.password_file = %s: expected uplink.username beside it", quote(u.PasswordFile))
	}
}
