"""The admin service as a client sees it that knows nothing but reflection: official gRPC of Python, messages made from what the broker tells."""
import time

import balsa

try:
    import grpc
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
except ImportError as error:
    grpc = None
    MISSING = str(error)

SERVICE = "balsa.admin.v1.Admin"
CALL_S = 30


def address(node):
    """The admin address of a broker that was started with settings()."""
    return node.settings["balsa.admin.listeners"]


def settings():
    return {"balsa.admin.listeners": f"127.0.0.1:{balsa.free_port()}"}


class Admin:
    """One channel; calls are methods: admin.ClusterStatus(field=value, timeout=...)."""

    def __init__(self, where, service=SERVICE):
        self.channel = grpc.insecure_channel(where)
        self.service = service
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def method(self, name):
        method = self.pool.FindServiceByName(self.service).FindMethodByName(name)
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        make = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        return make(f"/{self.service}/{name}", request.SerializeToString, response.FromString), request

    def __getattr__(self, name):
        stub, request = self.method(name)

        def call(timeout=CALL_S, **fields):
            return stub(request(**fields), timeout=timeout)
        return call

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def refusal(call, *args, **fields):
    """(status name, message) of a call that must fail; ("OK", "") if it did not."""
    try:
        call(*args, **fields)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def patiently(call, timeout_s=30, **fields):
    """The answer of a call that says UNAVAILABLE, nothing was done, for a while."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            return call(**fields)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                raise
        time.sleep(0.05)
