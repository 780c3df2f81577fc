// Drives the stand-in for Consul of our tests (crates/testkit/src/consul.rs) with Consul's own client library, through every request
// that Tributary makes and a few more: what the library takes for Consul, our adapter takes for Consul too.
//
// Arguments: the url and the health url of a node that Tributary announces under the service `ours`. Run it by `check`.
package main

import (
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/hashicorp/consul/api"
)

const patience = time.Minute

func main() {
	if len(os.Args) != 3 {
		fail("usage: consul-client URL HEALTH-URL")
	}
	client, err := api.NewClient(api.DefaultConfig())
	check("a client", err)
	seesOurNode(client, os.Args[1])
	services(client, os.Args[2])
	store(client)
	refused()
}

// The node that Tributary announces is a service like any other to the library.
func seesOurNode(client *api.Client, url string) {
	entry := waitFor(client, "ours", "a")
	equal("name of the service", entry.Service.Service, "ours")
	equal("url", entry.Service.Meta["url"], url)
	equal("gRPC url", entry.Service.Meta["grpc_url"], url+"1")
	equal("url of address and port", fmt.Sprintf("http://%s:%d", entry.Service.Address, entry.Service.Port), url)
	equal("checks", len(entry.Checks), 1)
	equal("status", entry.Checks.AggregatedStatus(), api.HealthPassing)
}

// Services: registered, found healthy or not, forgotten.
func services(client *api.Client, healthy string) {
	agent := client.Agent()
	register := func(id, name, health string) {
		check("register "+id, agent.ServiceRegister(&api.AgentServiceRegistration{
			ID: id, Name: name, Address: "127.0.0.1", Port: 7,
			Check: &api.AgentServiceCheck{HTTP: health, Interval: "1s", DeregisterCriticalServiceAfter: "1m"},
		}))
	}
	register("well", "theirs", healthy)
	register("ill", "theirs", "http://127.0.0.1:1/")
	waitFor(client, "theirs", "well")
	all, _, err := client.Health().Service("theirs", "", false, nil)
	check("list all", err)
	equal("services, healthy or not", len(all), 2)
	passing, _, err := client.Health().Service("theirs", "", true, nil)
	check("list healthy ones", err)
	equal("healthy services", len(passing), 1)

	known, _, err := agent.Service("ill", nil)
	check("look up a service", err)
	equal("port of the service", known.Port, 7)
	check("deregister", agent.ServiceDeregister("ill"))
	if _, _, err = agent.Service("ill", nil); err == nil {
		fail("a service that was deregistered is still known")
	}
	if err = agent.ServiceDeregister("ill"); err == nil {
		fail("a service can be deregistered twice")
	}
}

// The store: a missing key, values, a query that blocks until a change, and one that ends without.
func store(client *api.Client) {
	kv := client.KV()
	missing, meta, err := kv.Get("a/key", nil)
	check("get a missing key", err)
	equal("a missing key", missing == nil, true)
	if meta.LastIndex == 0 {
		fail("an answer has no index")
	}
	put := func(key, value string) {
		_, err := kv.Put(&api.KVPair{Key: key, Value: []byte(value)}, nil)
		check("put", err)
	}
	put("a/key", "first é")
	pair, meta, err := kv.Get("a/key", nil)
	check("get", err)
	equal("value", string(pair.Value), "first é")
	equal("index of the answer", meta.LastIndex, pair.ModifyIndex)

	go func() {
		time.Sleep(200 * time.Millisecond)
		put("another", "x")
		time.Sleep(200 * time.Millisecond)
		put("a/key", "second")
	}()
	changed, next, err := kv.Get("a/key", &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: patience})
	check("wait for a change", err)
	equal("value after the change", string(changed.Value), "second")
	if next.LastIndex <= meta.LastIndex || changed.CreateIndex != pair.CreateIndex {
		fail("the indexes are not those of a change")
	}
	begun := time.Now()
	_, same, err := kv.Get("a/key", &api.QueryOptions{WaitIndex: next.LastIndex, WaitTime: time.Second})
	check("wait for nothing", err)
	equal("index without a change", same.LastIndex, next.LastIndex)
	if waited := time.Since(begun); waited < time.Second {
		fail("a query that blocks ended after %s", waited)
	}
	_, err = kv.Delete("a/key", nil)
	check("delete", err)
	gone, _, err := kv.Get("a/key", nil)
	check("get a deleted key", err)
	equal("a deleted key", gone == nil, true)
	put("left/by-them", "their text")
}

// Without the token nothing is allowed, by the error that the library knows.
func refused() {
	config := api.DefaultConfig()
	config.Token = "wrong"
	client, err := api.NewClient(config)
	check("a client", err)
	_, _, err = client.KV().Get("left/by-them", nil)
	if status, ok := err.(api.StatusError); !ok || status.Code != 403 {
		fail("a wrong token: %v", err)
	}
}

// Waits until a service is healthy.
func waitFor(client *api.Client, name, id string) *api.ServiceEntry {
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(50 * time.Millisecond) {
		entries, _, err := client.Health().Service(name, "", true, nil)
		check("list "+name, err)
		for _, entry := range entries {
			if entry.Service.ID == id {
				return entry
			}
		}
	}
	fail("%s does not get healthy", id)
	return nil
}

func equal(what string, found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		fail("%s: %v, not %v", what, found, expected)
	}
}

func check(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func fail(text string, arguments ...any) {
	fmt.Fprintf(os.Stderr, text+"\n", arguments...)
	os.Exit(1)
}
