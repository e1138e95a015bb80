package uplink

import (
	"context"
	"encoding/json"
	"strings"
)

// haUnits are Home Assistant's names for the units and device classes of
// sensors (its documentation of the sensor entity).
var haUnits = map[string]struct{ unit, class string }{
	"Cel": {"°C", "temperature"}, "K": {"K", "temperature"}, "%RH": {"%", "humidity"}, "Pa": {"Pa", "pressure"}, "hPa": {"hPa", "pressure"},
	"V": {"V", "voltage"}, "mV": {"mV", "voltage"}, "A": {"A", "current"}, "mA": {"mA", "current"}, "W": {"W", "power"}, "kW": {"kW", "power"},
	"VA": {"VA", "apparent_power"}, "kWh": {"kWh", "energy"}, "Wh": {"Wh", "energy"}, "lx": {"lx", "illuminance"}, "Hz": {"Hz", "frequency"},
	"kg": {"kg", "weight"}, "g": {"g", "weight"}, "m/s": {"m/s", "wind_speed"}, "ppm": {"ppm", ""}, "m": {"m", "distance"}, "m3": {"m³", "volume"},
	"l": {"L", "volume"}, "ug/m3": {"µg/m³", ""}, "dB": {"dB", "sound_pressure"}, "s": {"s", "duration"}, "deg": {"°", ""}, "W/m2": {"W/m²", "irradiance"},
}

// discover publishes a retained configuration for each field, as Home
// Assistant's MQTT discovery wants it.
func (u *Uplink) discover(ctx context.Context, c *conn) {
	if u.o.Config.HomeAssistant == "" {
		return
	}
	for _, s := range u.o.Sources {
		var meta struct {
			Kind   string
			Fields []struct{ Name, Unit string }
		}
		if err := json.Unmarshal(s.Meta(nil), &meta); err != nil {
			u.log.Error("discovery", "source", s.Name(), "err", err)
			continue
		}
		for _, f := range meta.Fields {
			id := haID(u.o.Device + "_" + s.Name() + "_" + f.Name)
			p := map[string]any{
				"name":                  s.Name() + " " + f.Name,
				"unique_id":             "edgeagg_" + id,
				"object_id":             id,
				"state_topic":           u.topic("live/" + s.Name()),
				"value_template":        "{{ value_json.fields[" + quotePython(f.Name) + "] }}",
				"availability_topic":    u.topic("availability"),
				"availability_template": "{{ 'online' if value in ['online', 'asleep'] else 'offline' }}",
				"device": map[string]any{
					"identifiers": []string{"edgeagg_" + haID(u.o.Device)}, "name": u.o.Device, "manufacturer": "edgeagg",
				},
			}
			if f.Unit != "" {
				h, ok := haUnits[f.Unit]
				if !ok {
					h.unit = f.Unit
				}
				p["unit_of_measurement"] = h.unit
				p["state_class"] = "measurement"
				if h.class == "energy" {
					p["state_class"] = "total_increasing"
				}
				if h.class != "" {
					p["device_class"] = h.class
				}
			}
			b, err := json.Marshal(p)
			if err != nil {
				continue // strings always can be
			}
			m := &message{topic: u.o.Config.HomeAssistant + "/sensor/" + id + "/config", qos: 1, retained: true, payload: b}
			if c.say(ctx, m) != nil {
				return
			}
		}
	}
}

// haID makes what may stand in a discovery topic: letters, digits, _ and -.
func haID(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

func quotePython(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
