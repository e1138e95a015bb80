// Command edgeagg is the flight recorder for small boards.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // it failed or, for check and verify, found something
	exitUsage  = 2 // wrong usage, or a broken configuration in run
)

// A command is one word after edgeagg.
type command struct {
	name, does string
	run        func(args []string, stdout, stderr io.Writer) int
}

var commands = []command{
	{"run", "read the sources, keep the journal, upload it", runCommand},
	{"demo", "the main job with nothing installed", demoCommand},
	{"check", "find every mistake in a configuration", checkCommand},
	{"cat", "print the journal's records as JSON lines", catCommand},
	{"verify", "count the journal's records, list gaps and damage", verifyCommand},
	{"version", "print version, commit, Go and target", versionCommand},
}

func main() { os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr)) }

func dispatch(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	switch args[0] {
	case "-h", "--help", "-help", "help":
		usage(stdout)
		return exitDone
	case "-v", "--version", "-version":
		args = []string{"version"}
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(args[1:], stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "edgeagg: no command %q\n\n", args[0])
	usage(stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "edgeagg is the flight recorder for small boards.\n\nUsage: edgeagg COMMAND [-h] [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.does)
	}
	fmt.Fprint(w, "\nTry it with nothing installed:\n\n  edgeagg demo --for 20s\n")
}

const defaultConfig = "/etc/edgeagg/edgeagg.toml"

// flags is a flag set whose -h shows how the command is used, with an example.
func flags(name, args, example string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.Usage = func() {
		w := f.Output()
		fmt.Fprintf(w, "Usage: edgeagg %s\n", strings.TrimSpace(name+" [flags] "+args))
		n := 0
		f.VisitAll(func(*flag.Flag) { n++ })
		if n > 0 {
			fmt.Fprintln(w)
			f.PrintDefaults()
		}
		fmt.Fprintf(w, "\nExample:\n\n  %s\n", example)
	}
	return f
}

// parse reads the flags; done means that the command ends with code. At most
// most words may follow the flags; flags are found behind them too.
func parse(f *flag.FlagSet, args []string, most int, stdout, stderr io.Writer) (words []string, code int, done bool) {
	f.SetOutput(io.Discard)
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				f.SetOutput(stdout)
				f.Usage()
				return nil, exitDone, true
			}
			return nil, wrongUsage(f, stderr, err), true
		}
		if f.NArg() == 0 {
			break
		}
		words = append(words, f.Arg(0))
		args = f.Args()[1:]
	}
	if len(words) > most {
		return nil, wrongUsage(f, stderr, fmt.Errorf("unexpected argument %q", words[most])), true
	}
	return words, 0, false
}

func wrongUsage(f *flag.FlagSet, stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "edgeagg %s: %v\n", f.Name(), err)
	f.SetOutput(stderr)
	f.Usage()
	return exitUsage
}

// fail says why the command failed.
func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "edgeagg: %v\n", err)
	return exitFailed
}
