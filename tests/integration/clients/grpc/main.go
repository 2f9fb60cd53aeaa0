// The official gRPC of Go against the admin service, with messages made from what the server's reflection tells:  client ADDRESS TOPIC
//
// Unary calls, statuses, deadlines, a watch that is cancelled and one that times out, health (also as the channel's own health check),
// 1,000 calls side by side.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // for the health check of the channel
	health "google.golang.org/grpc/health/grpc_health_v1"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	service  = "balsa.admin.v1.Admin"
	limit    = 60 * time.Second
	parallel = 1000
	// A call goes out only while the server says that the service is healthy.
	config = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "balsa.admin.v1.Admin"}}`
)

type admin struct {
	conn    *grpc.ClientConn
	methods protoreflect.MethodDescriptors
}

func check(condition bool, what string, details ...any) {
	word := "FAIL"
	if condition {
		word = "ok"
	}
	text := strings.ReplaceAll(fmt.Sprintf(what, details...), "\n", " ")
	fmt.Println(word, text)
}

func must[T any](value T, err error) T {
	if err != nil {
		check(false, "%v", err)
		os.Exit(1)
	}
	return value
}

// Asks the server for the file that declares the service.
func reflect(conn *grpc.ClientConn) protoreflect.MethodDescriptors {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	stream := must(reflection.NewServerReflectionClient(conn).ServerReflectionInfo(ctx))
	question := &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}
	if err := stream.Send(&reflection.ServerReflectionRequest{MessageRequest: question}); err != nil {
		must(0, err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, bytes := range must(stream.Recv()).GetFileDescriptorResponse().FileDescriptorProto {
		file := &descriptorpb.FileDescriptorProto{}
		must(0, proto.Unmarshal(bytes, file))
		set.File = append(set.File, file)
	}
	found := must(must(protodesc.NewFiles(set)).FindDescriptorByName(service))
	return found.(protoreflect.ServiceDescriptor).Methods()
}

func (a *admin) messages(name, json string) (path string, request, answer *dynamicpb.Message) {
	method := a.methods.ByName(protoreflect.Name(name))
	request, answer = dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	must(0, protojson.Unmarshal([]byte(json), request))
	return "/" + service + "/" + name, request, answer
}

// One unary call; its answer as JSON.
func (a *admin) call(name, json string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	path, request, answer := a.messages(name, json)
	if err := a.conn.Invoke(ctx, path, request, answer); err != nil {
		return "", err
	}
	text := must(protojson.MarshalOptions{UseProtoNames: true}.Marshal(answer))
	return strings.ReplaceAll(string(text), " ", ""), nil
}

// Kinds of events until `on` returns false, then those up to the end of the cancelled stream; and how that ended.
func (a *admin) watch(ctx context.Context, on func(kind string) bool) (kinds []string, end codes.Code) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	path, request, _ := a.messages("Watch", "{}")
	stream := must(a.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path))
	must(0, stream.SendMsg(request))
	must(0, stream.CloseSend())
	for {
		_, _, event := a.messages("Watch", "{}")
		if err := stream.RecvMsg(event); err == io.EOF {
			return kinds, codes.OK
		} else if err != nil {
			return kinds, status.Code(err)
		}
		field := event.Descriptor().Fields().ByName("kind")
		kind := string(field.Enum().Values().ByNumber(event.Get(field).Enum()).Name())
		kinds = append(kinds, kind)
		if !on(kind) {
			cancel()
		}
	}
}

func (a *admin) topics(topic string) {
	told, err := a.call("ClusterStatus", "{}")
	check(err == nil && strings.Contains(told, `"is_serving":true`), "the cluster's status: %s %v", told, err)
	kinds, end := a.watch(context.Background(), func(kind string) bool {
		if kind == "BEGUN" {
			go func() {
				_, err := a.call("CreateTopic", fmt.Sprintf(`{"name": %q, "partitions": 3}`, topic))
				check(err == nil, "a topic is made: %v", err)
			}()
		}
		return kind != "TOPIC_CREATED"
	})
	check(kinds[0] == "BEGUN" && kinds[len(kinds)-1] == "TOPIC_CREATED", "a watch tells of a new topic: %v", kinds)
	check(end == codes.Canceled, "and ends when it is cancelled: %v", end)
	told, err = a.call("DescribeTopic", fmt.Sprintf(`{"name": %q}`, topic))
	check(err == nil && strings.Count(told, `"raft_group"`) == 3, "a topic is described: %s %v", told, err)
}

func (a *admin) statuses(topic string) {
	refused := func(name, json string, code codes.Code, text, what string) {
		told, err := a.call(name, json)
		check(status.Code(err) == code && strings.Contains(status.Convert(err).Message(), text), "%s: %s %v", what, told, err)
	}
	refused("CreateTopic", fmt.Sprintf(`{"name": %q}`, topic), codes.AlreadyExists, topic, "twice is refused")
	refused("DescribeTopic", `{"name": "nowhere"}`, codes.NotFound, "nowhere", "what is not there is not found")
	refused("CreateTopic", `{"name": "ü/"}`, codes.InvalidArgument, "", "a bad name is refused")
	refused("ListTopics", fmt.Sprintf(`{"prefix": %q}`, strings.Repeat("x", 5<<20)), codes.ResourceExhausted, "", "a request over the limit is refused")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	kinds, end := a.watch(ctx, func(string) bool { return true })
	check(len(kinds) == 1 && end == codes.DeadlineExceeded, "a watch ends at its deadline: %v %v", kinds, end)
	_, _, answer := a.messages("ClusterStatus", "{}")
	err := a.conn.Invoke(context.Background(), "/"+service+"/NoSuchMethod", answer, answer)
	check(status.Code(err) == codes.Unimplemented, "an unknown method is unimplemented: %v", err)
}

func healthy(conn *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client := health.NewHealthClient(conn)
	answer, err := client.Check(ctx, &health.HealthCheckRequest{Service: service})
	check(err == nil && answer.Status == health.HealthCheckResponse_SERVING, "the service is healthy: %v %v", answer, err)
	_, err = client.Check(ctx, &health.HealthCheckRequest{Service: "x.Y"})
	check(status.Code(err) == codes.NotFound, "an unknown service is not found: %v", err)
}

func (a *admin) parallel(topic string) {
	var group sync.WaitGroup
	var good, ended atomic.Int32
	question := fmt.Sprintf(`{"name": %q}`, topic)
	for range parallel {
		group.Go(func() {
			if told, err := a.call("DescribeTopic", question); err == nil && strings.Count(told, `"raft_group"`) == 3 {
				good.Add(1)
			}
		})
	}
	for range 100 {
		group.Go(func() {
			if _, end := a.watch(context.Background(), func(string) bool { return false }); end == codes.Canceled {
				ended.Add(1)
			}
		})
	}
	group.Wait()
	check(good.Load() == parallel, "of 1,000 parallel calls %d are answered", good.Load())
	check(ended.Load() == 100, "of 100 watches beside them %d begin and are cancelled", ended.Load())
}

func main() {
	address, topic := os.Args[1], os.Args[2]
	conn := must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(config)))
	a := &admin{conn, reflect(conn)}
	a.topics(topic)
	a.statuses(topic)
	healthy(conn)
	a.parallel(topic)
	_, err := a.call("DeleteTopic", fmt.Sprintf(`{"name": %q}`, topic))
	check(err == nil, "a topic is deleted: %v", err)
	_, err = a.call("DescribeTopic", fmt.Sprintf(`{"name": %q}`, topic))
	check(status.Code(err) == codes.NotFound, "and not found then: %v", err)
	must(0, conn.Close())
}
