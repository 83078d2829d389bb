// The cluster's DNS: CoreDNS with the plugins of our Corefile, without those of clouds, which take minutes to compile.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
)

func main() {
	// The order in which a query passes through them.
	dnsserver.Directives = []string{"bind", "errors", "cache", "kubernetes", "loop", "forward"}
	coremain.Run()
}
