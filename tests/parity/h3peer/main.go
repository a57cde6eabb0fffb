// h3peer speaks HTTP/3 frame by frame, valid or not, over quic-go: the client and the upstream of the parity cases.
//
//	h3peer client < script.json    one connection, one list of steps; prints what came back as JSON
//	h3peer server < script.json    prints {"port": n}, serves until its standard input closes, then prints what it saw as JSON
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

func main() {
	// What is written in one go then also goes in one go: nothing runs between two writes that do not wait.
	runtime.GOMAXPROCS(1)
	input := bufio.NewReader(os.Stdin)
	line, _ := input.ReadBytes('\n')
	var result any
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "client":
		var script clientScript
		if err = json.Unmarshal(line, &script); err == nil {
			result, err = runClient(script)
		}
	case len(os.Args) == 2 && os.Args[1] == "server":
		var script serverScript
		if err = json.Unmarshal(line, &script); err == nil {
			result, err = runServer(script, input)
		}
	default:
		err = fmt.Errorf("usage: h3peer client|server < script.json")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	if err := out.Encode(result); err != nil {
		os.Exit(1)
	}
}
