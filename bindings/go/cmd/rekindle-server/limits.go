package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
)

// keyring holds the keys that requests must have. Without keys everyone may call.
type keyring struct{ sums [][sha256.Size]byte }

func newKeyring(keys []string) *keyring {
	k := &keyring{}
	for _, key := range keys {
		k.sums = append(k.sums, sha256.Sum256([]byte(key)))
	}
	return k
}

// allows tells if a request has one of the keys. The time it takes depends neither on the key given nor on which one
// it is.
func (k *keyring) allows(r *http.Request) bool {
	if len(k.sums) == 0 {
		return true
	}
	given := r.Header.Get("X-Api-Key")
	if bearer, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); is {
		given = strings.TrimSpace(bearer)
	}
	sum, found := sha256.Sum256([]byte(given)), 0
	for _, s := range k.sums {
		found |= subtle.ConstantTimeCompare(sum[:], s[:])
	}
	return found == 1
}

// origins are the pages in browsers that may call.
type origins struct {
	allowed []string
	// loopback: only this machine reaches the server, by names that belong to it. Another name in a request comes from a
	// page that has its name point here.
	loopback bool
	hostname string
}

func newOrigins(allowed []string, host string) *origins {
	o := &origins{allowed: allowed, loopback: isLoopback(host)}
	o.hostname, _ = os.Hostname()
	return o
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// knowsHost tells if a request is for a name of this machine.
func (o *origins) knowsHost(r *http.Request) bool {
	if !o.loopback {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	for _, end := range []string{".localhost", ".local", ".internal"} {
		if strings.HasSuffix(host, end) {
			return true
		}
	}
	return host == "" || host == "localhost" || host == strings.ToLower(o.hostname) || net.ParseIP(host) != nil
}

// allows tells if a page of that origin may call: one of the list, or one that this server gave out itself.
func (o *origins) allows(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if u.Host != "" && u.Host == r.Host {
		return true
	}
	for _, a := range o.allowed {
		if a == "*" || a == origin {
			return true
		}
		// An origin of the list without a port stands for all ports, one without a host for all hosts.
		if scheme, is := strings.CutSuffix(a, "://"); is && scheme == u.Scheme {
			return true
		}
		if l, err := url.Parse(a); err == nil && l.Scheme == u.Scheme && l.Port() == "" && l.Host != "" &&
			l.Hostname() == u.Hostname() {
			return true
		}
	}
	return false
}

// narrow lets a number of connections be open at once; others wait to be accepted.
func narrow(l net.Listener, n int) net.Listener {
	return &narrowed{Listener: l, places: make(chan struct{}, n), gone: make(chan struct{})}
}

type narrowed struct {
	net.Listener
	places  chan struct{}
	gone    chan struct{}
	closing sync.Once
}

func (l *narrowed) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.gone:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: c, leave: func() { <-l.places }}, nil
}

func (l *narrowed) Close() error {
	l.closing.Do(func() { close(l.gone) })
	return l.Listener.Close()
}

type placed struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *placed) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
