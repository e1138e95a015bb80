package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sys/unix"
)

const (
	connectTimeout = 20 * time.Second
	writeTimeout   = 20 * time.Second
	userTimeout    = 20 * time.Second // TCP_USER_TIMEOUT (RFC 5482): unacknowledged bytes end the connection
	sendBuffer     = 32 << 10         // so that little is on its way that a live value has to wait for
)

// conn is one connection, used once.
type conn struct {
	mqtt.Client
	raw   atomic.Pointer[counted]
	lost  chan struct{} // closed once it is gone
	once  sync.Once
	why   error
	acked atomic.Int64 // when the last acknowledgement came, µs since 1970
}

func (c *conn) end(err error) {
	c.once.Do(func() {
		c.why = err
		close(c.lost)
	})
}

// close gives everything back at once, without a goodbye.
func (c *conn) close() {
	c.end(errors.New("closed"))
	if raw := c.raw.Load(); raw != nil {
		raw.Close()
	}
	c.Disconnect(0)
}

// cutAfter ends the connection if, some time after ctx has ended, it was not
// called off. The client's Publish can hang in a write to a dead line.
func (c *conn) cutAfter(ctx context.Context, d time.Duration) (off func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
			c.end(errors.New("took too long to stop"))
			if raw := c.raw.Load(); raw != nil {
				raw.Close()
			}
		}
	})
	return func() {
		stop()
		close(done)
	}
}

// closedByPeer reports whether the broker ended the connection, rather than
// the line or a timeout.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// connect opens a connection and logs in.
func (u *Uplink) connect(ctx context.Context, broker *url.URL) (*conn, error) {
	cfg := &u.o.Config
	c := &conn{lost: make(chan struct{})}
	o := mqtt.NewClientOptions()
	o.AddBroker(broker.String())
	o.SetClientID(cfg.ClientID)
	if cfg.Username != "" {
		o.SetUsername(cfg.Username)
		if cfg.PasswordFile != "" {
			password, err := readSecret(cfg.PasswordFile)
			if err != nil {
				return nil, fmt.Errorf("uplink.password_file: %w", err)
			}
			o.SetPassword(password)
		}
	}
	tlsConfig, err := u.tlsConfig()
	if err != nil {
		return nil, err
	}
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetCleanSession(true)
	o.SetProtocolVersion(4)
	o.SetStore(noStore{})
	o.SetOrderMatters(false)
	o.SetKeepAlive(cfg.Keepalive)
	o.SetPingTimeout(max(cfg.Keepalive/3, time.Second))
	o.SetWriteTimeout(writeTimeout)
	o.SetConnectTimeout(connectTimeout)
	o.SetWill(u.topic("availability"), "offline", 1, true)
	o.SetCustomOpenConnectionFn(func(to *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		raw, nc, err := u.dial(ctx, to, tlsConfig)
		if raw != nil {
			c.raw.Store(raw)
		}
		return nc, err
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.end(err) })
	c.Client = mqtt.NewClient(o)
	token := c.Connect()
	select {
	case <-token.Done():
		err = token.Error()
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(connectTimeout + 5*time.Second):
		err = errors.New("no answer to the login")
	}
	if err != nil {
		c.close()
		return nil, u.explain(broker, err)
	}
	c.acked.Store(time.Now().UnixMicro())
	return c, nil
}

// explain tells a certificate that cannot be judged yet from one that is wrong.
func (u *Uplink) explain(broker *url.URL, err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired && !u.o.Now().Set {
		return fmt.Errorf("connect to %s: the clock is not set, so the certificate cannot be checked: %w", broker.Host, err)
	}
	return fmt.Errorf("connect to %s: %w", broker.Host, err)
}

// dial opens the wire. Names are looked up each time.
func (u *Uplink) dial(ctx context.Context, to *url.URL, tlsConfig *tls.Config) (*counted, net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if to.Scheme == "ws" || to.Scheme == "wss" {
		if to.Scheme == "ws" {
			tlsConfig = nil
		}
		nc, err := mqtt.NewWebsocket(to.String(), tlsConfig, connectTimeout, nil, nil)
		if err != nil {
			return nil, nil, err
		}
		raw := &counted{Conn: nc, day: &u.day}
		return raw, raw, nil
	}
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			// Without them the connection works too, only less well.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		})
	}}
	nc, err := d.DialContext(ctx, "tcp", to.Host)
	if err != nil {
		return nil, nil, err
	}
	raw := &counted{Conn: nc, day: &u.day}
	if to.Scheme == "mqtt" {
		return raw, raw, nil
	}
	if tlsConfig.ServerName == "" {
		tlsConfig.ServerName = to.Hostname()
	}
	tc := tls.Client(raw, tlsConfig)
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, nil, err
	}
	return raw, tc, nil
}

// tlsConfig reads the files anew, so that renewed ones count at the next connect.
func (u *Uplink) tlsConfig() (*tls.Config, error) {
	cfg := &u.o.Config
	t := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         cfg.ServerName,
		ClientSessionCache: u.tickets,
		// A board without a clock starts in 1970, before any certificate.
		Time: func() time.Time {
			now := time.Now()
			if now.Before(u.o.Build) {
				return u.o.Build
			}
			return now
		},
	}
	if cfg.MaxBytesDay > 0 {
		// A hello with one short key share is a fifth of the usual one.
		t.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("uplink.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("uplink.ca: %s holds no PEM certificate", cfg.CA)
		}
	}
	if cfg.Cert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("uplink.cert and uplink.key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// readSecret reads a file, or a credential of the unit when the name has no
// slash (systemd.exec(5), LoadCredential).
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

// counted counts what goes out.
type counted struct {
	net.Conn
	day *day
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.day.add(time.Now(), int64(n))
	return n, err
}
