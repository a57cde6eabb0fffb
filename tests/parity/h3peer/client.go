package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

type clientScript struct {
	Port int `json:"port"`
	// The server name that is asked for, and the protocols.
	SNI  string   `json:"sni"`
	ALPN []string `json:"alpn"`
	Cert string   `json:"cert"`
	Key  string   `json:"key"`
	// The bytes of the control stream, in hexadecimal; "none" opens none, "" is a plain SETTINGS.
	Control string `json:"control"`
	// The windows of a client that reads slowly, in bytes; 0 is quic-go's.
	Window uint64 `json:"window"`
	Steps  []step `json:"steps"`
}

type clientResult struct {
	Error   string              `json:"error,omitempty"`
	ALPN    string              `json:"alpn,omitempty"`
	Subject string              `json:"subject,omitempty"`
	Streams map[string]*message `json:"streams,omitempty"`
	Goaway  []uint64            `json:"goaway,omitempty"`
	Closed  string              `json:"closed,omitempty"`
	Notes   []string            `json:"notes,omitempty"`
}

// An exchange is a stream with what came back on it.
type exchange struct {
	stream  *quic.Stream
	mu      sync.Mutex
	message message
	change  chan struct{}
	done    chan struct{}
	started bool
}

func runClient(script clientScript) (*clientResult, error) {
	result := &clientResult{Streams: map[string]*message{}}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	transport := &quic.Transport{Conn: socket}
	tlsConfig := &tls.Config{InsecureSkipVerify: true, ServerName: script.SNI, NextProtos: script.ALPN}
	if len(script.ALPN) == 0 {
		tlsConfig.NextProtos = []string{"h3"}
	}
	if script.Cert != "" {
		pair, err := tls.LoadX509KeyPair(script.Cert, script.Key)
		if err != nil {
			return nil, err
		}
		tlsConfig.Certificates = []tls.Certificate{pair}
	}
	config := &quic.Config{HandshakeIdleTimeout: 5 * time.Second, MaxIdleTimeout: 20 * time.Second}
	if script.Window > 0 {
		config.InitialStreamReceiveWindow, config.MaxStreamReceiveWindow = script.Window, script.Window
		config.InitialConnectionReceiveWindow, config.MaxConnectionReceiveWindow = script.Window, script.Window
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
	defer cancel()
	server := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: script.Port}
	conn, err := transport.Dial(ctx, server, tlsConfig, config)
	if err != nil {
		result.Error = reason(err)
		return result, nil
	}
	state := conn.ConnectionState().TLS
	result.ALPN = state.NegotiatedProtocol
	if len(state.PeerCertificates) > 0 {
		result.Subject = state.PeerCertificates[0].Subject.CommonName
	}
	var mu sync.Mutex
	goaway := make(chan struct{}, 16)
	go readUnidirectional(conn, func(id uint64) {
		mu.Lock()
		result.Goaway = append(result.Goaway, id)
		mu.Unlock()
		goaway <- struct{}{}
	})
	if script.Control != "none" {
		hex := script.Control
		if hex == "" {
			hex = "000400"
		}
		if err := openUni(conn, step{Op: "raw", Hex: hex}); err != nil {
			result.Notes = append(result.Notes, "control: "+reason(err))
		}
	}
	exchanges := map[string]*exchange{}
	for _, s := range script.Steps {
		note := doStep(conn, exchanges, goaway, s)
		if note != "" {
			result.Notes = append(result.Notes, fmt.Sprintf("%s %s: %s", s.Op, s.Stream, note))
		}
	}
	for name, e := range exchanges {
		e.mu.Lock()
		m := e.message
		e.mu.Unlock()
		result.Streams[name] = &m
	}
	// A close that is on its way is part of the outcome.
	select {
	case <-conn.Context().Done():
	case <-time.After(20 * time.Millisecond):
	}
	if err := context.Cause(conn.Context()); err != nil {
		result.Closed = reason(err)
	}
	mu.Lock()
	defer mu.Unlock()
	conn.CloseWithError(0x100, "")
	transport.Close()
	return result, nil
}

func doStep(conn *quic.Conn, exchanges map[string]*exchange, goaway chan struct{}, s step) string {
	wait := time.Duration(s.Ms) * time.Millisecond
	if wait == 0 {
		wait = 8 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	switch s.Op {
	case "sleep":
		time.Sleep(wait)
		return ""
	case "uni":
		if err := openUni(conn, step{Op: "raw", Hex: s.Hex, Fin: s.Fin}); err != nil {
			return reason(err)
		}
		return ""
	case "goaway":
		select {
		case <-goaway:
			return ""
		case <-ctx.Done():
			return "no GOAWAY"
		}
	case "closed":
		select {
		case <-conn.Context().Done():
			return ""
		case <-ctx.Done():
			return "still open"
		}
	case "close":
		conn.CloseWithError(quic.ApplicationErrorCode(s.Code), "")
		// What the streams make of it is part of the outcome.
		for _, e := range exchanges {
			if e.started {
				<-e.done
			}
		}
		return ""
	case "migrate":
		return migrate(ctx, conn)
	}
	e := exchanges[s.Stream]
	if e == nil {
		stream, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return reason(err)
		}
		e = &exchange{stream: stream, change: make(chan struct{}, 1), done: make(chan struct{})}
		exchanges[s.Stream] = e
	}
	if !e.started && s.Op != "unread" {
		e.started = true
		go e.read()
	}
	switch s.Op {
	case "unread":
		// Opened, and what comes back is left where it is until another step of this stream.
		payload, err := step{Op: "headers", Fields: s.Fields}.bytes()
		if err == nil {
			_, err = e.stream.Write(payload)
		}
		if err != nil {
			return reason(err)
		}
		e.stream.Close()
	case "fin":
		e.stream.Close()
	case "reset":
		e.stream.CancelWrite(quic.StreamErrorCode(s.Code))
	case "stop":
		e.stream.CancelRead(quic.StreamErrorCode(s.Code))
	case "head":
		return e.wait(ctx, "no head", func() bool { return e.message.Headers != nil })
	case "body":
		return e.wait(ctx, "no body", func() bool { return e.message.Bytes >= max(s.Size, 1) })
	case "end":
		select {
		case <-e.done:
		case <-ctx.Done():
			return "no end"
		}
	case "stopped":
		select {
		case <-e.stream.Context().Done():
			e.mu.Lock()
			e.message.Stopped = reason(context.Cause(e.stream.Context()))
			e.mu.Unlock()
		case <-ctx.Done():
			return "not stopped"
		}
	default:
		payload, err := s.bytes()
		if err != nil {
			return err.Error()
		}
		e.stream.SetWriteDeadline(time.Now().Add(wait))
		if _, err := e.stream.Write(payload); err != nil {
			return reason(err)
		}
		if s.Fin {
			e.stream.Close()
		}
	}
	return ""
}

// wait waits until what was read of the answer is enough or the stream is over, and returns what is missing where time runs out.
func (e *exchange) wait(ctx context.Context, missing string, enough func() bool) string {
	for {
		e.mu.Lock()
		there := enough()
		e.mu.Unlock()
		if there {
			return ""
		}
		select {
		case <-e.change:
		case <-e.done:
			return ""
		case <-ctx.Done():
			return missing
		}
	}
}

func (e *exchange) read() {
	var m message
	m.read(e.stream, false, func() {
		e.mu.Lock()
		stopped := e.message.Stopped
		e.message = m
		e.message.Stopped = stopped
		e.mu.Unlock()
		select {
		case e.change <- struct{}{}:
		default:
		}
	})
	e.mu.Lock()
	m.Stopped = e.message.Stopped
	e.message = m
	e.mu.Unlock()
	close(e.done)
}

func openUni(conn *quic.Conn, s step) error {
	stream, err := conn.OpenUniStream()
	if err != nil {
		return err
	}
	payload, err := s.bytes()
	if err != nil {
		return err
	}
	if _, err := stream.Write(payload); err != nil {
		return err
	}
	if s.Fin {
		return stream.Close()
	}
	return nil
}

// migrate moves the connection to another port of ours.
func migrate(ctx context.Context, conn *quic.Conn) string {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err.Error()
	}
	path, err := conn.AddPath(&quic.Transport{Conn: socket})
	if err != nil {
		return err.Error()
	}
	if err := path.Probe(ctx); err != nil {
		return "probe: " + err.Error()
	}
	if err := path.Switch(); err != nil {
		return "switch: " + err.Error()
	}
	return ""
}

// readUnidirectional reads the peer's streams and tells of each GOAWAY.
func readUnidirectional(conn *quic.Conn, goaway func(uint64)) {
	for {
		stream, err := conn.AcceptUniStream(context.Background())
		if err != nil {
			return
		}
		go func() {
			r := quicvarint.NewReader(stream)
			if kind, err := quicvarint.Read(r); err != nil || kind != 0 {
				return
			}
			for {
				kind, err := quicvarint.Read(r)
				if err != nil {
					return
				}
				length, err := quicvarint.Read(r)
				if err != nil {
					return
				}
				payload := make([]byte, length)
				for i := range payload {
					if payload[i], err = r.ReadByte(); err != nil {
						return
					}
				}
				if kind == 7 {
					if id, _, err := quicvarint.Parse(payload); err == nil {
						goaway(id)
					}
				}
			}
		}()
	}
}
