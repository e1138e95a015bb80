package config

import "testing"

func TestTry(t *testing.T) {
	for _, s := range []string{"device = 3\nclok=\"ntp\"\n[journal]\nsync=\"5\"\nmax_byte=1\n[[source]]\nname=\"a\"\nkind=\"file\"\nbaud=3\npath=\"/x\"\n[[source]]\nname=\"a\"\nkind=\"serial\"\nport=\"x\"\nparse=\"csv\"\n[[source]]\nkind=\"ds18b20\"\nid=\"x\"\n",
		"a = [\n", "x", "[a\n", "[[source]]\nname=\"x\"\nkind=\"simulate\"\nfields=[\"a Cel\",\"b foo\"]\nevery=\"10ms\"\n[uplink]\nbroker=[\"mqtts://a\",\"http://x\"]\n[uplink]\nx=1\n"} {
		_, w, err := Parse("x.toml", []byte(s), Identity{Hostname: "h"})
		t.Log(err, w)
	}
}
