package config

import (
	"net"
	"strconv"
)

// http checks where the page listens.
func (d *decoder) http(c *Config) {
	h := d.files.root.get("http")
	if c.HTTP.Listen == "" {
		return
	}
	at := d.place(h, "listen")
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		d.bad(at, "http.listen = %s: expected an address and a port, for example \"127.0.0.1:8484\"", quote(c.HTTP.Listen))
		return
	}
	if !loopback(host) && c.HTTP.TokenFile == "" {
		d.bad(at, "http.listen = %s: expected http.token_file beside it: others can reach this address", quote(c.HTTP.Listen))
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
