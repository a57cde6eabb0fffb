// Frames and field sections: what both roles write and read.
package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// A field is a name and a value.
type field [2]string

// A step is one thing that a stream does.
type step struct {
	Op     string  `json:"op"`
	Stream string  `json:"stream"`
	Fields []field `json:"fields"`
	Text   string  `json:"text"`
	Hex    string  `json:"hex"`
	Size   int     `json:"size"`
	Code   uint64  `json:"code"`
	Fin    bool    `json:"fin"`
	Ms     int     `json:"ms"`
}

// bytes of a step that writes: a frame of the step's kind, or raw bytes.
func (s step) bytes() ([]byte, error) {
	payload := []byte(s.Text)
	if s.Hex != "" {
		raw, err := hex.DecodeString(strings.ReplaceAll(s.Hex, " ", ""))
		if err != nil {
			return nil, err
		}
		payload = raw
	}
	if s.Size > 0 {
		payload = bytes.Repeat([]byte("x"), s.Size)
	}
	switch s.Op {
	case "headers":
		return frame(1, section(s.Fields)), nil
	case "data":
		return frame(0, payload), nil
	case "raw":
		return payload, nil
	}
	return nil, fmt.Errorf("unknown step %q", s.Op)
}

func frame(kind uint64, payload []byte) []byte {
	out := quicvarint.Append(nil, kind)
	out = quicvarint.Append(out, uint64(len(payload)))
	return append(out, payload...)
}

func section(fields []field) []byte {
	var out bytes.Buffer
	encoder := qpack.NewEncoder(&out)
	for _, f := range fields {
		encoder.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]})
	}
	if out.Len() == 0 {
		return []byte{0, 0}
	}
	return out.Bytes()
}

// A message is a request or an answer as it came.
type message struct {
	Informational [][]field `json:"informational,omitempty"`
	Headers       []field   `json:"headers"`
	Body          string    `json:"body"`
	Bytes         int       `json:"bytes,omitempty"`
	Trailers      []field   `json:"trailers,omitempty"`
	// How it ended: "" for well, else what broke it.
	End string `json:"end,omitempty"`
	// What became of the sending side: "" where nothing is known.
	Stopped string `json:"stopped,omitempty"`
}

// read reads frames until the stream ends; `server` tells that requests come in, which have no informational heads. `seen` is called when a head, or the
// first piece of a body, has come.
func (m *message) read(stream io.Reader, server bool, seen func()) {
	r := quicvarint.NewReader(stream)
	final := false
	for {
		kind, err := quicvarint.Read(r)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				m.End = reason(err)
			}
			return
		}
		length, err := quicvarint.Read(r)
		if err != nil {
			m.End = "cut: " + reason(err)
			return
		}
		if kind != 0 && kind != 1 {
			if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
				m.End = "cut: " + reason(err)
				return
			}
			continue
		}
		if kind == 0 {
			for length > 0 {
				piece := make([]byte, min(length, 16384))
				n, err := io.ReadFull(r, piece)
				m.Bytes += n
				if len(m.Body) < 2048 {
					m.Body += string(piece[:n])
				}
				length -= uint64(n)
				seen()
				if err != nil {
					m.End = "cut: " + reason(err)
					return
				}
			}
			continue
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(r, payload); err != nil {
			m.End = "cut: " + reason(err)
			return
		}
		fields, err := decode(payload)
		if err != nil {
			m.End = "qpack: " + err.Error()
			return
		}
		switch {
		case final:
			m.Trailers = fields
		case !server && len(fields) > 0 && fields[0][0] == ":status" && fields[0][1][0] == '1':
			m.Informational = append(m.Informational, fields)
		default:
			m.Headers, final = fields, true
		}
		seen()
	}
}

func decode(payload []byte) ([]field, error) {
	fields := []field{}
	next := qpack.NewDecoder().Decode(payload)
	for {
		f, err := next()
		if errors.Is(err, io.EOF) {
			return fields, nil
		}
		if err != nil {
			return nil, err
		}
		fields = append(fields, field{f.Name, f.Value})
	}
}

// reason is an error without what differs between two runs.
func reason(err error) string {
	var stream *quic.StreamError
	var application *quic.ApplicationError
	var transport *quic.TransportError
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	side := func(remote bool) string {
		if remote {
			return "by peer"
		}
		return "by us"
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "fin"
	case errors.As(err, &stream):
		return fmt.Sprintf("reset 0x%x %s", uint64(stream.ErrorCode), side(stream.Remote))
	case errors.As(err, &application):
		return fmt.Sprintf("closed 0x%x %s", uint64(application.ErrorCode), side(application.Remote))
	case errors.As(err, &transport):
		return fmt.Sprintf("transport error 0x%x %s", uint64(transport.ErrorCode), side(transport.Remote))
	case errors.As(err, &idle):
		return "idle timeout"
	case errors.As(err, &handshake):
		return "handshake timeout"
	}
	return err.Error()
}
