// The multi-threaded library: callbacks come on a thread of its own.
#define THREADED
#include <zookeeper/zookeeper.h>
