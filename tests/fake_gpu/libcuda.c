/* A driver with one device that can be seen and not be used: everything past its description fails.
   FAKE_CAPABILITY: its compute capability times ten, 89 by default. FAKE_CONTEXTS=1: contexts can be made.
   FAKE_LOG: a file that gets a line for each call that starts it, sets flags, makes a context, or asks for functions. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 801, DEVICES_UNAVAILABLE = 46 };

static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int context_result(void) { return setting("FAKE_CONTEXTS", 0) ? OK : DEVICES_UNAVAILABLE; }

static void note(const char *name, unsigned value) {
    const char *path = getenv("FAKE_LOG");
    FILE *log = path ? fopen(path, "a") : 0;
    if (log) { fprintf(log, "%s %u\n", name, value); fclose(log); }
}

int cuInit(unsigned flags) { note("cuInit", flags); return OK; }
int cuDriverGetVersion(int *version) { *version = 13000; return OK; }
int cuDeviceGetCount(int *count) { *count = 1; return OK; }
int cuDeviceGet(int *device, int index) { *device = index; return OK; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Fake L4", length); return OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)23034 << 20; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int capability = setting("FAKE_CAPABILITY", 89);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
    return OK;
}
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return OK; }
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) {
    note("cuDevicePrimaryCtxSetFlags_v2", flags);
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    note("cuDevicePrimaryCtxRetain", device);
    *context = (void *)1;
    return context_result();
}
int cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
int cuCtxPushCurrent_v2(void *context) { return context_result(); }
int cuCtxPopCurrent_v2(void **context) { return OK; }
int cuTensorMapEncodeTiled(void) { return NOT_SUPPORTED; }
int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    note("cuGetProcAddress", version);
    *function = 0;
    return NOT_SUPPORTED;
}
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, void *status) {
    note("cuGetProcAddress_v2", version);
    *function = 0;
    return NOT_SUPPORTED;
}
