//go:build !linux

package main

import "errors"

func keepTo(int) error { return errors.ErrUnsupported }
