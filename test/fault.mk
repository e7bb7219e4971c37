# The calls that test/fault.c stands in front of, in test/fault_test alone
FAULT_WRAPS := open fcntl fstat stat statx fstatfs fstatvfs pread read pwrite pwritev2 fdatasync \
    fsync syncfs msync mmap munmap madvise fallocate ftruncate lseek ioctl sync_file_range syscall \
    getrandom memfd_create malloc calloc realloc aligned_alloc free pthread_setspecific \
    pthread_key_create
# The runtime of the thread sanitizer, and any of clang's, is part of the program and makes the same
# calls.
ifeq ($(filter thread,$(SAN))$(if $(SAN),$(findstring clang,$(CC))),)
$(OUT)/test/fault_test: LDFLAGS += $(FAULT_WRAPS:%=-Wl,--wrap=%)
endif
$(OUT)/test/fault_test: test/fault.mk

# Every call with every error; check and the sanitizers play a part of them
PROOFS += faults
.PHONY: faults
faults: export FAULTS := all
faults: export LIMIT := 420
faults: ## every system call and every allocation fails, one at a time and for ever (1 min)
	@$(MAKE) --no-print-directory unit TESTS=fault_test
