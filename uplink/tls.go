package uplink

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sessions keeps what makes most handshakes short. It outlives the
// connections, but not the files that they were checked with.
type sessions struct {
	cache tls.ClientSessionCache
	files [sha256.Size]byte
}

func (s *sessions) of(files []byte) tls.ClientSessionCache {
	if sum := sha256.Sum256(files); s.cache == nil || sum != s.files {
		s.cache, s.files = tls.NewLRUClientSessionCache(4), sum
	}
	return s.cache
}

// tlsConfig reads the files anew; nil for a broker without TLS.
func (u *Uplink) tlsConfig(broker *url.URL) (*tls.Config, error) {
	if broker.Scheme != "mqtts" && broker.Scheme != "wss" {
		return nil, nil
	}
	cfg := &u.o.Config
	t := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: cfg.ServerName,
		// A board without a clock starts in 1970, before any certificate.
		Time: func() time.Time {
			if now := time.Now(); now.After(u.o.Build) {
				return now
			}
			return u.o.Build
		},
	}
	if t.ServerName == "" {
		t.ServerName = broker.Hostname()
	}
	if cfg.MaxBytesDay > 0 {
		// A hello with one short key share is a quarter of the usual one.
		t.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	}
	var files []byte
	read := func(key, name string) ([]byte, error) {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("uplink.%s: %w", key, err)
		}
		files = append(files, b...)
		return b, nil
	}
	if cfg.CA != "" {
		pem, err := read("ca", cfg.CA)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("uplink.ca: %s holds no PEM certificate", cfg.CA)
		}
	}
	if cfg.Cert != "" {
		cert, err := read("cert", cfg.Cert)
		if err != nil {
			return nil, err
		}
		key, err := read("key", cfg.Key)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("uplink.cert %s and uplink.key %s: %w", cfg.Cert, cfg.Key, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	t.ClientSessionCache = u.sessions.of(files)
	return t, nil
}

// notYet reports whether a certificate was refused for its dates.
func notYet(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// readSecret reads a file, or a credential of the unit when the name has no
// slash (systemd.exec(5), LoadCredential). The newline at its end is not part
// of it.
func readSecret(name string) (string, error) {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && !strings.Contains(name, "/") {
		name = filepath.Join(dir, name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
