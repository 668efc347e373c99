// A decision service by Envoy's API (envoy.service.auth.v3) whose decisions a real Open Policy Agent makes: the engine of
// github.com/open-policy-agent/opa with a Rego policy, behind the messages of envoyproxy/go-control-plane. OPA's own plug-in for
// Envoy, whose input has the same form, is not on the module proxy of every builder.
//
// Usage: opa-authz ADDRESS POLICY.rego QUERY
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/v1/rego"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

type server struct {
	authv3.UnimplementedAuthorizationServer
	query rego.PreparedEvalQuery
}

// The form of a decision, as OPA's plug-in for Envoy reads it.
type decision struct {
	Allowed bool              `json:"allowed"`
	Status  int32             `json:"http_status"`
	Body    string            `json:"body"`
	Headers map[string]string `json:"headers"`
	Remove  []string          `json:"request_headers_to_remove"`
	ToAdd   map[string]string `json:"response_headers_to_add"`
}

func options(headers map[string]string) []*corev3.HeaderValueOption {
	var list []*corev3.HeaderValueOption
	for key, value := range headers {
		list = append(list, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: key, Value: value}})
	}
	return list
}

func (s *server) decide(ctx context.Context, request *authv3.CheckRequest) (*decision, error) {
	text, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	var input map[string]any
	if err := json.Unmarshal(text, &input); err != nil {
		return nil, err
	}
	results, err := s.query.Eval(ctx, rego.EvalInput(input))
	if err != nil || len(results) == 0 {
		return nil, fmt.Errorf("no decision: %v", err)
	}
	made, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return nil, err
	}
	var found decision
	return &found, json.Unmarshal(made, &found)
}

func (s *server) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	found, err := s.decide(ctx, request)
	if err != nil {
		return nil, err
	}
	if found.Allowed {
		return &authv3.CheckResponse{
			Status: &status.Status{Code: int32(codes.OK)},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				Headers: options(found.Headers), HeadersToRemove: found.Remove, ResponseHeadersToAdd: options(found.ToAdd),
			}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(found.Status)}, Headers: options(found.Headers), Body: found.Body,
		}},
	}, nil
}

func main() {
	policy, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	query, err := rego.New(rego.Query(os.Args[3]), rego.Module(os.Args[2], string(policy))).PrepareForEval(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	all := grpc.NewServer()
	authv3.RegisterAuthorizationServer(all, &server{query: query})
	log.Printf("listening on %s", listener.Addr())
	log.Fatal(all.Serve(listener))
}
