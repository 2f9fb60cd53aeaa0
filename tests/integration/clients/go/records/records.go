// Package records reads the records that a client shall send and notes what it has received; formats: records.py.
package records

import (
	"bufio"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Check says whether a claim holds.
func Check(condition bool, format string, args ...any) {
	word := "FAIL"
	if condition {
		word = "ok"
	}
	fmt.Println(word, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// Must ends the program with an error that no claim is about.
func Must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Header of a record.
type Header struct {
	Name  string
	Value []byte
}

// Record to be sent.
type Record struct {
	Partition  int32
	Millis     int64
	Key, Value []byte
	Headers    []Header
}

// Read calls each for every record of a file.
func Read(name string, each func(*Record)) {
	file := Must(os.Open(name))
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<20)
	head := make([]byte, 8)
	for {
		if _, err := io.ReadFull(in, head); err == io.EOF {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head)-4)
		Must(io.ReadFull(in, data))
		record := &Record{Partition: int32(binary.BigEndian.Uint32(head[4:])), Millis: int64(binary.BigEndian.Uint64(data))}
		data = data[8:]
		take := func() []byte {
			size := int32(binary.BigEndian.Uint32(data))
			data = data[4:]
			if size < 0 {
				return nil
			}
			part := data[:size:size]
			data = data[size:]
			return part
		}
		record.Key = take()
		record.Value = take()
		count := binary.BigEndian.Uint32(data)
		data = data[4:]
		for ; count > 0; count-- {
			name := string(take())
			record.Headers = append(record.Headers, Header{name, take()})
		}
		each(record)
	}
}

func field(out []byte, data []byte) []byte {
	if data == nil {
		return binary.BigEndian.AppendUint32(out, 0xffffffff)
	}
	return append(binary.BigEndian.AppendUint32(out, uint32(len(data))), data...)
}

// Digests notes records received, a file for each partition.
type Digests struct {
	out         string
	files       map[string]*bufio.Writer
	entry, body []byte
}

// NewDigests writes into a directory.
func NewDigests(out string) *Digests {
	return &Digests{out: out, files: map[string]*bufio.Writer{}}
}

// Add notes one record.
func (d *Digests) Add(topic string, partition int32, offset, millis int64, key, value []byte, headers []Header) {
	name := fmt.Sprintf("%s-%d", topic, partition)
	if d.files[name] == nil {
		d.files[name] = bufio.NewWriter(Must(os.Create(filepath.Join(d.out, name))))
	}
	d.body = binary.BigEndian.AppendUint64(d.body[:0], uint64(millis))
	d.body = field(field(d.body, key), value)
	keyValue := sha1.Sum(d.body[8:])
	d.body = binary.BigEndian.AppendUint32(d.body, uint32(len(headers)))
	for _, header := range headers {
		d.body = field(field(d.body, []byte(header.Name)), header.Value)
	}
	whole := sha1.Sum(d.body)
	d.entry = binary.BigEndian.AppendUint64(d.entry[:0], uint64(offset))
	d.entry = append(append(append(d.entry, d.body[:8]...), whole[:8]...), keyValue[:8]...)
	Must(d.files[name].Write(d.entry))
}

// Close writes what is left.
func (d *Digests) Close() {
	for _, file := range d.files {
		if err := file.Flush(); err != nil {
			panic(err)
		}
	}
}
