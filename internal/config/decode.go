package config

import "time"

// decode turns what was read into a Config, if there is no mistake in it.
func (d *decoder) decode() (*Config, []Problem, error) {
	root := d.files.root
	c := &Config{
		Clock:      "ntp",
		Aggregator: Aggregator{Buffer: 512 << 10, MaxRecord: 4 << 10},
		Journal: Journal{
			Dir: "/var/lib/edgeagg", Sync: 5 * time.Second,
			MaxBytes: 2 << 30, MinFree: 64 << 20, SegmentBytes: 4 << 20,
		},
		Uplink: Uplink{
			ClientID: "edgeagg-{device}", Keepalive: 30 * time.Second,
			Topic: "edgeagg/{device}", Format: "json", Message: 8 << 10, Every: 30 * time.Second,
			MaxBytes: 4 << 20, Rate: 256 << 10,
			Live: 10 * time.Second, Status: 60 * time.Second, ClockWait: 10 * time.Minute,
		},
	}
	j, u := &c.Journal, &c.Uplink
	sections := []struct {
		name string
		keys []key
	}{
		{"aggregator", []key{
			{"buffer", size(&c.Aggregator.Buffer, 4<<10, 64<<20, "")},
			{"max_record", size(&c.Aggregator.MaxRecord, 256, 512<<10, "")},
		}},
		{"journal", []key{
			{"dir", text(&j.Dir)},
			{"sync", duration(&j.Sync, 10*time.Millisecond, forever, "")},
			{"max_bytes", size(&j.MaxBytes, 2*minSegment, 1<<50, "")},
			{"min_free", size(&j.MinFree, 0, 1<<50, "")},
			{"segment_bytes", size(&j.SegmentBytes, minSegment, 256<<20, "")},
			{"require", either(&j.RequireMount, "", "mount")},
		}},
		{"uplink", []key{
			{"broker", brokers(&u.Brokers)},
			{"client_id", text(&u.ClientID)},
			{"username", text(&u.Username)},
			{"password_file", text(&u.PasswordFile)},
			{"ca", text(&u.CA)},
			{"cert", text(&u.Cert)},
			{"key", text(&u.Key)},
			{"server_name", text(&u.ServerName)},
			{"keepalive", duration(&u.Keepalive, time.Second, 65535*time.Second, "")}, // MQTT 3.1.1, section 3.1.2.10
			{"topic", text(&u.Topic)},
			{"history_topic", text(&u.HistoryTopic)},
			{"format", oneOf(&u.Format, "json", "influx", "thingsboard")},
			{"compress", either(&u.Gzip, "none", "gzip")},
			{"message", size(&u.Message, 256, 1<<20, "")},
			{"every", duration(&u.Every, 10*time.Millisecond, forever, "")},
			{"max_bytes", size(&u.MaxBytes, 1<<10, 1<<50, "no bound")},
			{"rate", size(&u.Rate, 256, 1<<50, "no bound")},
			{"max_bytes_day", size(&u.MaxBytesDay, 4<<10, 1<<50, "no bound")},
			{"between", spans(&u.Between)},
			{"live", duration(&u.Live, 10*time.Millisecond, forever, "no live topics")},
			{"status", duration(&u.Status, 100*time.Millisecond, forever, "")},
			{"clock_wait", duration(&u.ClockWait, 0, forever, "")},
			{"commands", words(&u.Commands, "status", "upload", "resend", "probe", "restart")},
			{"homeassistant", text(&u.HomeAssistant)},
		}},
		{"http", []key{
			{"listen", text(&c.HTTP.Listen)},
			{"token_file", text(&c.HTTP.TokenFile)},
		}},
	}
	top := []key{
		{"device", text(&c.Device)},
		{"clock", oneOf(&c.Clock, "ntp", "rtc", "trust")},
	}
	d.home = map[string]string{}
	for _, k := range top {
		d.home[k.name] = "the top of the file, above the first [section]"
	}
	for _, s := range sections {
		for _, k := range s.keys {
			if _, twice := d.home[k.name]; twice {
				d.home[k.name] = ""
			} else {
				d.home[k.name] = "[" + s.name + "]"
			}
		}
		top = append(top, key{s.name, func(v *value) { d.section(v.node, v.path, s.keys, nil) }})
	}
	var sources []*node
	top = append(top, key{"source", func(v *value) {
		if v.kind != arrayKind {
			v.expected("[[source]], in double brackets")
			return
		}
		for _, n := range v.items {
			if n.kind != tableKind {
				v.of(n).expected("[[source]]")
				continue
			}
			sources = append(sources, n)
			c.Sources = append(c.Sources, d.source(n))
		}
	}})
	d.section(root, "", top, nil)

	d.device(c)
	d.uplink(c)
	d.card(c)
	d.http(c)
	d.sameName(c, sources)
	if len(d.problems) > 0 {
		return nil, nil, Problems(sorted(d.problems))
	}
	return c, sorted(d.warn(c, sources)), nil
}

// sameName finds sources that have the name of one above.
func (d *decoder) sameName(c *Config, sources []*node) {
	first := map[string]*node{}
	for i, n := range sources {
		name, at := c.Sources[i].Name, d.place(n, "name")
		if old := first[name]; old != nil {
			d.bad(at, "source %s stands here again, first at %s:%d", quote(name), old.file, old.line)
		} else if name != "" {
			first[name] = at
		}
	}
}
