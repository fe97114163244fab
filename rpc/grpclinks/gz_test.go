package grpclinks_test

import _ "google.golang.org/grpc/encoding/gzip" // what most programs register
