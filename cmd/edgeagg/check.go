package main

import (
	"errors"
	"fmt"
	"io"

	"edgeagg/board"
	"edgeagg/internal/config"
)

func checkCommand(args []string, stdout, stderr io.Writer) int {
	f := flags("check", "", "edgeagg check -c /etc/edgeagg/edgeagg.toml")
	file := f.String("c", defaultConfig, "configuration `FILE`")
	if _, code, done := parse(f, args, 0, stdout, stderr); done {
		return code
	}
	cfg, warnings, err := loadWithWarnings(*file)
	var mistakes config.Problems
	if err != nil && !errors.As(err, &mistakes) {
		return fail(stderr, err)
	}
	for _, p := range mistakes {
		fmt.Fprintln(stdout, p)
	}
	if len(mistakes) > 0 {
		return exitFailed
	}
	for _, p := range warnings {
		p.Text = "warning: " + p.Text
		fmt.Fprintln(stdout, p)
	}
	to := "no broker, journal only"
	if n := len(cfg.Uplink.Brokers); n > 0 {
		to = "uplink to " + cfg.Uplink.Brokers[0].Redacted()
	}
	fmt.Fprintf(stdout, "%s: ok: device %s, sources: %d, %s\n", *file, cfg.Device, len(cfg.Sources), to)
	return exitDone
}

// load reads a configuration for this board.
func load(file string) (*config.Config, error) {
	cfg, _, err := loadWithWarnings(file)
	return cfg, err
}

func loadWithWarnings(file string) (*config.Config, []config.Problem, error) {
	return config.Load(file, configIdentity(board.Identify("")))
}

func configIdentity(id board.Identity) config.Identity {
	return config.Identity{Hostname: id.Hostname, Serial: id.Serial, MAC: id.MAC}
}
