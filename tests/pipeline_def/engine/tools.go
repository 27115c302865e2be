//go:build tools

// The command that is built.
package engine

import _ "github.com/apache/beam/sdks/v2/go/cmd/prism"
