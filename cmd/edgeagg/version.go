package main

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"
)

// Set by the linker (see Makefile).
var (
	version = "dev"
	commit  = "unknown"
	built   = "0" // seconds since 1970, of the commit, so that a build can be repeated
)

// buildTime is a time that the wall clock cannot honestly be before.
func buildTime() time.Time {
	n, err := strconv.ParseInt(built, 10, 64)
	if err != nil || n == 0 {
		return time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Unix(n, 0).UTC()
}

func versionCommand(args []string, stdout, stderr io.Writer) int {
	f := flags("version", "", "edgeagg version")
	if _, code, done := parse(f, args, 0, stdout, stderr); done {
		return code
	}
	target := runtime.GOOS + "/" + runtime.GOARCH
	if goarm != "" {
		target += "/v" + goarm
	}
	fmt.Fprintf(stdout, "edgeagg %s commit %s %s %s\n", version, commit, runtime.Version(), target)
	return exitDone
}
