package config

import (
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	const (
		simulate = "[[source]]\nname = \"a\"\nkind = \"simulate\"\n"
		serial   = "[[source]]\nname = \"a\"\nkind = \"serial\"\n"
		slow     = simulate + "fields = [\"x\"]\nevery = \"10s\"\n" // 8640 readings a day of 89 bytes
		fast     = simulate + "fields = [\"x\"]\nevery = \"10ms\"\n"
	)
	for _, c := range []struct{ name, text, want string }{
		{"nothing to record", `clock = "ntp"`,
			`t.toml:1: no [[source]]: there is nothing to record`},
		{"all is well", slow, ""},

		{"unit", simulate + "fields = [\"x\",\n\"y bananas\",\n\"z Cel\"]\n",
			`t.toml:5: source "a": unit "bananas" of y is not a SenML name; it is kept as it is`},
		{"unit of a file", "[[source]]\nname = \"a\"\nkind = \"file\"\npath = \"/a\"\nfield = \"x °C\"\n",
			`t.toml:5: source "a": unit "°C" of x is not a SenML name (did you mean Cel?); it is kept as it is`},
		{"unit in the wrong case", simulate + "fields = [\"x PA\"]\n",
			`t.toml:4: source "a": unit "PA" of x is not a SenML name (did you mean Pa?); it is kept as it is`},

		{"min of several units", "[[source]]\nname = \"a\"\nkind = \"bme280\"\nbus = \"/dev/i2c-1\"\nmax = 50\n",
			`t.toml:5: source "a": min and max hold for all its values alike, in Cel, %RH, Pa`},
		{"min of one unit", simulate + "fields = [\"x V\", \"y V\", \"z\"]\nmin = 0\n", ""},

		{"usb port", serial + "port = \"usb:0403:6001@1-1.2:1.0\"\n",
			`t.toml:4: source "a": port = "usb:0403:6001@1-1.2:1.0": this version finds no ports by usb: yet; use by-id: with a name in /dev/serial/by-id`},

		{"password in the clear", slow + "[uplink]\nusername = \"u\"\npassword_file = \"p\"\nbroker = [\"mqtts://b\",\n\"ws://b\"]\n",
			`t.toml:9: uplink.broker = "ws://b:80": the password goes over the network for all to read; use wss`},
		{"password on this machine", slow + "[uplink]\nusername = \"u\"\npassword_file = \"p\"\nbroker = [\"mqtt://localhost\", \"mqtt://127.0.0.1\"]\n", ""},
		{"no password", slow + "[uplink]\nusername = \"u\"\nbroker = \"mqtt://b\"\n", ""},

		{"unset clock", slow + "[uplink]\nbroker = \"mqtt://b\"\nclock_wait = \"0s\"\n",
			`t.toml:8: uplink.clock_wait = "0s": after each boot, history goes out with wrong times until the clock is set`},
		{"trusted clock", "clock = \"trust\"\n" + slow + "[uplink]\nbroker = \"mqtt://b\"\nclock_wait = \"0s\"\n", ""},

		{"windows", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes = \"1KiB\"\nevery = \"10m\"\n",
			`t.toml:8: uplink.max_bytes: the sources yield about 751 KiB a day (0.1 readings/s), and the schedule carries 144 KiB: the backlog grows until the card drops the oldest`},
		{"enough windows", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes = \"1KiB\"\nevery = \"1m\"\n", ""},
		{"gzip", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes = \"2KiB\"\nevery = \"10m\"\ncompress = \"gzip\"\n", ""},
		{"hours", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes = \"64KiB\"\nevery = \"1h\"\nbetween = [\"01:00-02:00\", \"01:30-03:00\"]\n",
			`t.toml:8: uplink.max_bytes: the sources yield about 751 KiB a day (0.1 readings/s), and the schedule carries 128 KiB: the backlog grows until the card drops the oldest`},
		{"rate", slow + "[uplink]\nbroker = \"mqtt://b\"\nrate = \"256\"\nbetween = [\"23:30-00:10\"]\n",
			`t.toml:8: uplink.rate: the sources yield about 751 KiB a day (0.1 readings/s), and the schedule carries 600 KiB: the backlog grows until the card drops the oldest`},
		{"day", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes_day = \"1MiB\"\nlive = \"0s\"\nstatus = \"5m\"\n",
			`t.toml:8: uplink.max_bytes_day: the sources yield about 751 KiB a day (0.1 readings/s), and the schedule carries 448 KiB: the backlog grows until the card drops the oldest`},
		{"live topics fill the day", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes_day = \"2.9MiB\"\nstatus = \"5m\"\nlive = \"1s\"\n",
			`t.toml:8: uplink.max_bytes_day: the sources yield about 751 KiB a day (0.1 readings/s), and the schedule carries 706 KiB: the backlog grows until the card drops the oldest`},
		{"live topics leave enough", slow + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes_day = \"4MiB\"\nstatus = \"5m\"\n", ""},
		{"no bounds", fast + "[uplink]\nbroker = \"mqtt://b\"\nmax_bytes = 0\nrate = 0\n", ""},
		{"no broker", fast + "[uplink]\nmax_bytes = \"1KiB\"\n", ""},

		{"wear", fast + "[journal]\nsync = \"10ms\"\n",
			`t.toml:7: journal.sync = "10ms": up to 3154 million syncs a year of 16KiB each wear a card of 8GiB (1000 erase cycles) out in 0.2 years`},
		{"wear by a sender", serial + "port = \"/dev/a\"\n[journal]\nsync = \"100ms\"\n",
			`t.toml:6: journal.sync = "100ms": up to 315 million syncs a year of 16KiB each wear a card of 8GiB (1000 erase cycles) out in 1.7 years`},
		{"few readings to sync", slow + "[journal]\nsync = \"10ms\"\n", ""},
		{"slow enough", fast + "[journal]\nsync = \"1s\"\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, warnings, err := Parse("t.toml", []byte(c.text), board)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if got := strings.Join(got, "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
