package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

type serverScript struct {
	Port int    `json:"port"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
	// Steps by path; "*" for the others. A step "request" waits for the end of the request, "body" for its first bytes; where a list has neither, the answer
	// does not wait.
	Answers map[string][]step `json:"answers"`
}

type serverResult struct {
	Connections int        `json:"connections"`
	Requests    []*message `json:"requests"`
}

func runServer(script serverScript, input *bufio.Reader) (*serverResult, error) {
	pair, err := tls.LoadX509KeyPair(script.Cert, script.Key)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: script.Port})
	if err != nil {
		return nil, err
	}
	transport := &quic.Transport{Conn: socket}
	listener, err := transport.Listen(&tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h3"}}, &quic.Config{MaxIdleTimeout: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]int{"port": socket.LocalAddr().(*net.UDPAddr).Port}); err != nil {
		return nil, err
	}
	result := &serverResult{Requests: []*message{}}
	var mu sync.Mutex
	go func() {
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			mu.Lock()
			result.Connections++
			mu.Unlock()
			go serveConn(conn, script, result, &mu)
		}
	}()
	io.Copy(io.Discard, input)
	mu.Lock()
	defer mu.Unlock()
	return result, nil
}

func serveConn(conn *quic.Conn, script serverScript, result *serverResult, mu *sync.Mutex) {
	control, err := conn.OpenUniStream()
	if err != nil {
		return
	}
	control.Write([]byte{0, 4, 0})
	go readUnidirectional(conn, func(uint64) {})
	for {
		stream, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		shown := &message{}
		mu.Lock()
		result.Requests = append(result.Requests, shown)
		mu.Unlock()
		go serveStream(conn, control, stream, script, shown, mu)
	}
}

func serveStream(conn *quic.Conn, control *quic.SendStream, stream *quic.Stream, script serverScript, shown *message, mu *sync.Mutex) {
	head, body, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		var m message
		var once, first sync.Once
		m.read(stream, true, func() {
			mu.Lock()
			*shown = m
			mu.Unlock()
			once.Do(func() { close(head) })
			if m.Bytes > 0 {
				first.Do(func() { close(body) })
			}
		})
		mu.Lock()
		*shown = m
		mu.Unlock()
		once.Do(func() { close(head) })
		first.Do(func() { close(body) })
		close(done)
	}()
	<-head
	path := ""
	mu.Lock()
	for _, f := range shown.Headers {
		if f[0] == ":path" {
			path = f[1]
		}
	}
	mu.Unlock()
	steps, ok := script.Answers[path]
	if !ok {
		steps, ok = script.Answers["*"]
	}
	if !ok {
		steps = []step{{Op: "request"}, {Op: "headers", Fields: []field{{":status", "200"}, {"content-type", "text/plain"}}}, {Op: "data", Text: "hello"}, {Op: "fin"}}
	}
	for _, s := range steps {
		switch s.Op {
		case "request":
			<-done
		case "body":
			<-body
		case "sleep":
			time.Sleep(time.Duration(s.Ms) * time.Millisecond)
		case "fin":
			stream.Close()
		case "reset":
			stream.CancelWrite(quic.StreamErrorCode(s.Code))
		case "stop":
			stream.CancelRead(quic.StreamErrorCode(s.Code))
		case "close":
			conn.CloseWithError(quic.ApplicationErrorCode(s.Code), "")
		case "control":
			if payload, err := (step{Op: "raw", Hex: s.Hex}).bytes(); err == nil {
				control.Write(payload)
			}
		case "stopped":
			<-stream.Context().Done()
			mu.Lock()
			shown.Stopped = reason(context.Cause(stream.Context()))
			mu.Unlock()
		default:
			payload, err := s.bytes()
			if err != nil {
				return
			}
			if _, err := stream.Write(payload); err != nil {
				mu.Lock()
				shown.Stopped = reason(err)
				mu.Unlock()
				return
			}
			if s.Fin {
				stream.Close()
			}
		}
	}
}
