package uplink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgeagg/internal/record"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir}
	a.file, _ = a.issue(name, time.Now().Add(-time.Hour), nil)
	return a
}

// issue makes a certificate for 127.0.0.1, valid from then on; by itself if
// there is no signer.
func (a *authority) issue(name string, from time.Time, by *authority) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: from.Add(1000 * time.Hour), DNSNames: []string{"broker.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := c, k
	if by != nil {
		parent, signer = by.cert, by.key
	} else {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		a.key, a.cert = k, c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &k.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if by == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	cert = writeFile(a.t, a.dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = writeFile(a.t, a.dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd})))
	return cert, key
}

// tlsBroker is a mosquitto with a certificate of a.
func tlsBroker(t *testing.T, a *authority, from time.Time, more ...string) (b *broker, url string) {
	t.Helper()
	cert, key := a.issue("server", from, a)
	b = newBroker(t, append([]string{"allow_anonymous true", "cafile " + a.file, "certfile " + cert, "keyfile " + key}, more...)...)
	return b, "mqtts://" + b.addr()
}

// A wrong authority is said; the file is read again at the next try. Both ends
// show certificates.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	right, wrong := newAuthority(t, dir, "right"), newAuthority(t, dir, "wrong")
	_, url := tlsBroker(t, right, time.Now().Add(-time.Minute), "require_certificate true")
	ca := writeFile(t, dir, "ca.pem", read(t, wrong.file))
	c := usual(url)
	c.CA = ca
	c.Cert, c.Key = right.issue("board", time.Now().Add(-time.Minute), right)
	c.ServerName = "broker.test"
	u := newRig(t, c).run()
	until(t, "the error", func() bool { return strings.Contains(u.Stats().Error, "unknown authority (uplink.ca") })
	if strings.Contains(u.Stats().Error, "clock") {
		t.Errorf("error: %s", u.Stats().Error)
	}
	writeFile(t, dir, "ca.pem", "no certificate")
	until(t, "the error", func() bool { return strings.Contains(u.Stats().Error, "holds no PEM") })
	writeFile(t, dir, "ca.pem", read(t, right.file))
	u.connected()
	u.write(10)
	u.drain()
}

func TestServerName(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, dir, "ca")
	_, url := tlsBroker(t, a, time.Now().Add(-time.Minute))
	c := usual(url)
	c.CA, c.ServerName = a.file, "another.test"
	u := newRig(t, c).run()
	until(t, "the error", func() bool { return strings.Contains(u.Stats().Error, "another.test") })
}

// A certificate refused for its dates is told apart while the clock is not
// set; a build later than the clock stands in for it.
func TestCertificateBeforeTheClock(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, dir, "ca")
	begins := time.Now().Add(24 * time.Hour)
	_, url := tlsBroker(t, a, begins)
	c := usual(url)
	c.CA = a.file
	unset := func(o *Options) { o.Now = func() record.Time { return record.Time{Wall: 1, Mono: 1} } }
	u := newRig(t, c, unset).run()
	until(t, "the error", func() bool { return strings.Contains(u.Stats().Error, "the clock is not set") })
	if u.logged.count("the clock is not set") != 1 {
		t.Error("not in the log")
	}
	set := newRig(t, c).run()
	until(t, "the error", func() bool { return strings.Contains(set.Stats().Error, "not yet valid") })
	if strings.Contains(set.Stats().Error, "the clock is not set") {
		t.Errorf("error: %s", set.Stats().Error)
	}
	newRig(t, c, unset, func(o *Options) { o.Build = begins.Add(time.Hour) }).run().connected()
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A name without a slash is a credential of the unit.
func TestCredential(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "mqtt", "secret \n")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for name, want := range map[string]string{"mqtt": "secret ", filepath.Join(dir, "mqtt"): "secret "} {
		if got, err := readSecret(name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := readSecret("none"); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "none")) {
		t.Errorf("missing: %v", err)
	}
}
