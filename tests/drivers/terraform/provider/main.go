// A provider for the tests: records in a JSON file, which stands for a system of others.
//
// What becomes of a record stands in its value: "broken" fails, "restless" is never what was asked for, and
// "slow" takes as many seconds as follow, as in "slow-5". A value that ends in "leak" is repeated in an error, with the
// provider's own token, as careless providers do.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	dataschema "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type own struct{}

type config struct {
	Path  types.String `tfsdk:"path"`
	Calls types.String `tfsdk:"calls"`
}

func (own) Metadata(_ context.Context, _ provider.MetadataRequest, response *provider.MetadataResponse) {
	response.TypeName = "own"
}

func (own) Schema(_ context.Context, _ provider.SchemaRequest, response *provider.SchemaResponse) {
	response.Schema = providerschema.Schema{Attributes: map[string]providerschema.Attribute{
		"path": providerschema.StringAttribute{Required: true},
		// An address that it must reach before it does anything.
		"calls": providerschema.StringAttribute{Optional: true},
	}}
}

func (own) Configure(ctx context.Context, request provider.ConfigureRequest, response *provider.ConfigureResponse) {
	var given config
	response.Diagnostics.Append(request.Config.Get(ctx, &given)...)
	if address := given.Calls.ValueString(); address != "" {
		called, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			response.Diagnostics.AddError("The provider cannot reach its system", err.Error())
			return
		}
		called.Close()
	}
	response.ResourceData = given.Path.ValueString()
	response.DataSourceData = given.Path.ValueString()
}

func (own) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return &record{} }}
}

func (own) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{func() datasource.DataSource { return &clock{} }}
}

// record is one entry of the file.
type record struct{ file string }

type model struct {
	Name   types.String `tfsdk:"name"`
	Value  types.String `tfsdk:"value"`
	Secret types.String `tfsdk:"secret"`
	Serial types.Int64  `tfsdk:"serial"`
	Copy   types.String `tfsdk:"copy"`
}

type entry struct {
	Value  string `json:"value"`
	Secret string `json:"secret"`
	Serial int64  `json:"serial"`
}

func (*record) Metadata(_ context.Context, _ resource.MetadataRequest, response *resource.MetadataResponse) {
	response.TypeName = "own_record"
}

func (*record) Schema(_ context.Context, _ resource.SchemaRequest, response *resource.SchemaResponse) {
	response.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"name": schema.StringAttribute{
			Required:      true,
			PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
		},
		"value":  schema.StringAttribute{Required: true},
		"secret": schema.StringAttribute{Optional: true, Sensitive: true},
		"serial": schema.Int64Attribute{Computed: true},
		// A copy of the secret that carries no mark.
		"copy": schema.StringAttribute{Computed: true},
	}}
}

func (r *record) Configure(_ context.Context, request resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if request.ProviderData != nil {
		r.file = request.ProviderData.(string)
	}
}

func (r *record) Create(ctx context.Context, request resource.CreateRequest, response *resource.CreateResponse) {
	var plan model
	response.Diagnostics.Append(request.Plan.Get(ctx, &plan)...)
	if response.Diagnostics.HasError() {
		return
	}
	if err := r.put(&plan); err != nil {
		response.Diagnostics.AddError("The record could not be made", err.Error())
		return
	}
	response.Diagnostics.Append(response.State.Set(ctx, plan)...)
}

func (r *record) Update(ctx context.Context, request resource.UpdateRequest, response *resource.UpdateResponse) {
	var plan model
	response.Diagnostics.Append(request.Plan.Get(ctx, &plan)...)
	if response.Diagnostics.HasError() {
		return
	}
	if err := r.put(&plan); err != nil {
		response.Diagnostics.AddError("The record could not be changed", err.Error())
		return
	}
	response.Diagnostics.Append(response.State.Set(ctx, plan)...)
}

func (r *record) Read(ctx context.Context, request resource.ReadRequest, response *resource.ReadResponse) {
	var state model
	response.Diagnostics.Append(request.State.Get(ctx, &state)...)
	found, there := entry{}, false
	err := locked(r.file, func(all map[string]entry) bool {
		found, there = all[state.Name.ValueString()]
		return false
	})
	if err != nil {
		response.Diagnostics.AddError("The records cannot be read", err.Error())
		return
	}
	if !there {
		response.State.RemoveResource(ctx)
		return
	}
	state.Value, state.Serial, state.Copy = types.StringValue(found.Value), types.Int64Value(found.Serial), types.StringValue(found.Secret)
	if found.Value == "restless" {
		state.Value = types.StringValue("something else")
	}
	response.Diagnostics.Append(response.State.Set(ctx, state)...)
}

func (r *record) Delete(ctx context.Context, request resource.DeleteRequest, response *resource.DeleteResponse) {
	var name types.String
	response.Diagnostics.Append(request.State.GetAttribute(ctx, path.Root("name"), &name)...)
	err := locked(r.file, func(all map[string]entry) bool {
		delete(all, name.ValueString())
		return true
	})
	if err != nil {
		response.Diagnostics.AddError("The record could not be removed", err.Error())
	}
}

func (r *record) put(plan *model) error {
	value := plan.Value.ValueString()
	if strings.HasSuffix(value, "leak") {
		return fmt.Errorf("refused with token %s and secret %s", os.Getenv("OWN_TOKEN"), plan.Secret.ValueString())
	}
	if value == "broken" {
		return fmt.Errorf("the value %q is refused", value)
	}
	if word, seconds, found := strings.Cut(value, "-"); found && word == "slow" {
		number, _ := strconv.ParseFloat(seconds, 64)
		time.Sleep(time.Duration(number * float64(time.Second)))
	}
	return locked(r.file, func(all map[string]entry) bool {
		name := plan.Name.ValueString()
		made := entry{Value: value, Secret: plan.Secret.ValueString(), Serial: all[name].Serial + 1}
		all[name] = made
		plan.Serial, plan.Copy = types.Int64Value(made.Serial), types.StringValue(made.Secret)
		return true
	})
}

// locked reads the file, and writes it where the work says so; one process at a time.
func locked(file string, work func(map[string]entry) bool) error {
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	all := map[string]entry{}
	if data, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			return err
		}
	}
	if !work(all) {
		return nil
	}
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(file), ".next-"+filepath.Base(file))
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}

// clock is a data source that is another one each time that it is read.
type clock struct{}

func (*clock) Metadata(_ context.Context, _ datasource.MetadataRequest, response *datasource.MetadataResponse) {
	response.TypeName = "own_clock"
}

func (*clock) Schema(_ context.Context, _ datasource.SchemaRequest, response *datasource.SchemaResponse) {
	response.Schema = dataschema.Schema{Attributes: map[string]dataschema.Attribute{
		"now": dataschema.StringAttribute{Computed: true},
	}}
}

func (*clock) Read(ctx context.Context, _ datasource.ReadRequest, response *datasource.ReadResponse) {
	now := types.StringValue(strconv.FormatInt(time.Now().UnixNano(), 10))
	response.Diagnostics.Append(response.State.SetAttribute(ctx, path.Root("now"), now)...)
}

func main() {
	address := flag.String("address", "registry.example/acme/own", "the provider's address")
	flag.Parse()
	serve := func() provider.Provider { return own{} }
	if err := providerserver.Serve(context.Background(), serve, providerserver.ServeOpts{Address: *address}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
