// An ordinary Go server: server HOST:PORT. On SIGTERM it finishes its requests.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func answer(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "pid=%d slot=%s gen=%s\n", os.Getpid(), os.Getenv("PREFORK_SLOT"),
		os.Getenv("PREFORK_GENERATION"))
}

func main() {
	server := &http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(answer)}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-stop
	server.Shutdown(context.Background())
	// Shutdown does not know of a connection that was being accepted at that moment.
	time.Sleep(50 * time.Millisecond)
	server.Shutdown(context.Background())
}
