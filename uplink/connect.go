package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/sys/unix"
)

const (
	connectTimeout = 20 * time.Second
	writeTimeout   = 20 * time.Second
	userTimeout    = 20 * time.Second // TCP_USER_TIMEOUT (tcp(7), RFC 5482): unacknowledged bytes end the connection
	sendBuffer     = 32 << 10         // so that little is on its way that a live value has to wait for
)

// connect opens a connection and logs in. Passwords and certificates are read
// each time, so that renewed ones count.
func (u *Uplink) connect(ctx context.Context, broker *url.URL) (*conn, error) {
	c := newConn(u.ackTimeout)
	o, err := u.clientOptions(broker)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := u.tlsConfig(broker)
	if err != nil {
		return nil, err
	}
	o.SetCustomOpenConnectionFn(func(to *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		nc, err := u.dial(ctx, c, to, tlsConfig)
		if err != nil {
			return nil, err
		}
		select {
		case <-c.lost: // given up meanwhile
			nc.Close()
			return nil, c.why
		default:
			return nc, nil
		}
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.end(err) })
	c.client = mqtt.NewClient(o)
	token := c.client.Connect()
	t := time.NewTimer(connectTimeout + 5*time.Second)
	defer t.Stop()
	select {
	case <-token.Done():
		err = token.Error()
	case <-ctx.Done():
		err = ctx.Err()
	case <-t.C:
		err = errors.New("no answer to the login")
	}
	if err != nil {
		c.end(err)
		c.close()
		return nil, u.explain(broker, err)
	}
	c.read.Store(time.Now().UnixMicro())
	go c.pump(&u.day)
	go c.collect()
	return c, nil
}

// clientOptions are those with which the client keeps nothing, repeats nothing
// and ends every wait when the connection is lost: the journal is the queue.
func (u *Uplink) clientOptions(broker *url.URL) (*mqtt.ClientOptions, error) {
	cfg := &u.o.Config
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
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetCleanSession(true)
	o.SetProtocolVersion(4) // else a refused login costs two connections
	o.SetStore(noStore{})
	o.SetOrderMatters(false)
	// The client looks only now and then whether a ping is due, and whether
	// its answer is late. So it asks a little early, and serve looks after the
	// answer (see silence).
	o.SetKeepAlive(max(cfg.Keepalive*4/5, time.Second))
	o.SetPingTimeout(time.Hour)
	o.SetWriteTimeout(writeTimeout)
	o.SetConnectTimeout(connectTimeout)
	o.SetWill(u.topic("availability"), "offline", 1, true)
	return o, nil
}

// silence is how long nothing may come from the broker: longer, and the link
// is half-open. With the time until that is looked at it makes 1.5 keepalives.
func (u *Uplink) silence() time.Duration {
	return max(u.o.Config.Keepalive*3/2-look, 2*time.Second)
}

// dial opens the wire. Names are looked up each time.
func (u *Uplink) dial(ctx context.Context, c *conn, to *url.URL, tlsConfig *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if to.Scheme == "ws" || to.Scheme == "wss" {
		nc, err := mqtt.NewWebsocket(to.String(), tlsConfig, connectTimeout, nil, nil)
		if err != nil {
			return nil, err
		}
		return c.wire(nc, &u.day), nil
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
		return nil, err
	}
	w := c.wire(nc, &u.day)
	if tlsConfig == nil {
		return w, nil
	}
	tc := tls.Client(w, tlsConfig)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// explain says what was tried, tells a certificate that cannot be judged yet
// from one that is wrong, and leaves out what differs from try to try.
func (u *Uplink) explain(broker *url.URL, err error) error {
	if notYet(err) && !u.o.Now().Set {
		return fmt.Errorf("connect to %s: the clock is not set, so the certificate cannot be checked (a time server or a battery clock helps): %w", broker.Host, err)
	}
	cure := ""
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		cure = " (uplink.ca has to name the authority that signed it)"
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		cure = " (uplink.username and uplink.password_file have to be what the broker knows)"
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		cure = " (the broker does not take uplink.client_id)"
	}
	return fmt.Errorf("connect to %s: %w%s", broker.Host, plain(err), cure)
}

// plain leaves out of a network error the port on this side, which is another
// one each time.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}
