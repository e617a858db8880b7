// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// MarkRules returns all rules of firewall marks.
func (d *Director) MarkRules() ([]ipvs.MarkRule, error) {
	return d.plane.MarkRules(), nil
}

// AddMarkRules adds all the rules that are not there or, with an error, none.
func (d *Director) AddMarkRules(rules ...ipvs.MarkRule) error {
	if err := d.plane.AddMarkRules(rules...); err != nil {
		return err
	}
	for _, r := range rules {
		d.options.Log.Info("added mark rule", "rule", r.String())
	}
	return nil
}

// DeleteMarkRules removes the rules for the same VIPs, protocols and ports,
// whatever their mark, and returns how many were there.
func (d *Director) DeleteMarkRules(rules ...ipvs.MarkRule) (int, error) {
	deleted, err := d.plane.DeleteMarkRules(rules...)
	if err != nil {
		return deleted, err
	}
	d.options.Log.Info("deleted mark rules", "rules", deleted)
	return deleted, nil
}

// unmarked says which services no packet can reach for want of a rule.
func unmarked(table ipvs.Table, rules []ipvs.MarkRule) (problems []string) {
	given := make(map[ipvs.Key]bool)
	for _, r := range rules {
		given[ipvs.MarkKey(r.Mark, r.VIP.Addr().Is6())] = true
	}
	for _, s := range table.Services {
		if s.Mark != 0 && !given[s.Key] {
			problems = append(problems, fmt.Sprintf("service %s: no rule gives a packet its mark, and those of a firewall are set too late for XDP: lvsx mark add --vip VIP --mark %d", s.Key, s.Mark))
		}
	}
	return problems
}
