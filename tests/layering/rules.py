"""Who may include whom, in the words of docs/architecture.md.

An include is named by its path from the repository root ("engine/base/clock.h"), by "kernels/..."
for the kernel headers, or by an alias below for generated and third-party headers.
"""

# The first pattern that matches an include names it; an include that matches none is free for all.
ALIASES = [
    (r"(contextpool/v1|google/rpc)/.*\.pb\.h", "proto"),
    (r"(google/protobuf|grpc|grpcpp|grpc\+\+)/.*", "grpc"),
    (r"(ATen|torch|c10|caffe2)/.*", "libtorch"),
    (r"(cuda.*|cublas.*|nv.*)\.h", "cuda"),
    (r"opencv2/.*", "opencv"),
    (r"j(peglib|error)\.h", "libjpeg"),
    (r"boost/.*", "boost"),
    (r"(prometheus|httplib\.h).*", "observe_library"),
]

# A key is a unit's folder or the start of some files' paths, which wins over their folder. A unit's
# own headers are allowed, as is all that stands on its line. "engine/" and "server/" mean the files
# right in these folders, so that a new folder there needs a line of its own.
ALLOWED = {
    "kernels/include/kernels/": ["kernels/"],
    "kernels/cpu/": ["kernels/"],
    "kernels/cuda/": ["kernels/", "cuda"],
    "kernels/simt/": ["kernels/"],
    "kernels/simt/fiber": ["boost", "kernels/"],
    "engine/base/": ["kernels/dtype.h", "kernels/float16.h"],
    "engine/preprocess/": ["engine/base/"],
    "engine/preprocess/image_decoder": ["engine/base/", "engine/preprocess/", "opencv"],
    "engine/preprocess/image_jpeg_decoder": ["engine/base/", "engine/preprocess/", "libjpeg"],
    "engine/batching/": ["engine/base/"],
    "engine/device/": ["engine/base/", "kernels/"],
    "engine/device/emulated/": ["engine/base/", "engine/device/", "kernels/"],
    "engine/device/cpu": ["engine/base/", "engine/device/", "kernels/", "libtorch"],
    "engine/device/cuda": ["engine/base/", "engine/device/", "kernels/", "cuda"],
    "engine/model/": ["engine/base/", "engine/device/"],
    "engine/execution/": ["engine/base/", "engine/device/", "engine/model/"],
    # The engine's header is what the server sees; its sources wire all stages.
    "engine/engine.h": ["engine/base/"],
    "engine/": ["engine/"],
    "server/admission/": ["engine/base/", "engine/engine.h", "grpc"],
    "server/config/": ["engine/base/", "engine/engine.h", "grpc", "proto"],
    "server/observe/": [
        "engine/base/", "engine/engine.h", "grpc", "observe_library", "proto", "server/admission/",
        "server/config/",
    ],
    "server/models/": ["engine/base/", "engine/engine.h", "server/config/", "server/observe/"],
    "server/rpc/": [
        "engine/base/", "engine/engine.h", "grpc", "proto", "server/admission/", "server/config/",
        "server/models/", "server/observe/",
    ],
    "server/": ["engine/base/", "engine/engine.h", "grpc", "server/"],
    "clients/cli/": ["grpc", "proto"],
    "clients/cli/grid_picture": ["clients/cli/", "grpc", "opencv", "proto"],
    "clients/cli/seen_image": ["clients/cli/", "grpc", "opencv", "proto"],
}

# LibTorch brings its own copy of protobuf's headers, so it stays inside source files. Headers of the
# folders named here may include the library, since only their own sources include them.
SOURCES_ONLY = {
    "libtorch": [],
    "cuda": ["engine/device/cuda/"],
    "opencv": [],
    "libjpeg": [],
    "boost": [],
}
