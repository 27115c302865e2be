package org.apache.beam.sdk.fn.server;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.apache.beam.model.pipeline.v1.Endpoints.ApiServiceDescriptor;
import org.apache.beam.sdk.fn.channel.SocketAddressFactory;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.BindableService;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.Server;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.ServerInterceptors;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.netty.NettyServerBuilder;

/**
 * Makes the gRPC servers of the job server and of the engine's workers, on the loopback address.
 *
 * <p>Takes the place of Beam 2.62's class of this name, whose servers listen on every address
 * whatever --job-host says, so that anybody in the network could run code here.
 */
public abstract class ServerFactory {
  private static final int KEEP_ALIVE_TIME_SEC = 20;

  public interface UrlFactory {
    String createUrl(String host, int port);
  }

  public abstract Server allocateAddressAndCreate(
      List<BindableService> services, ApiServiceDescriptor.Builder builder) throws IOException;

  public abstract Server create(
      List<BindableService> services, ApiServiceDescriptor serviceDescriptor) throws IOException;

  public static ServerFactory createDefault() {
    return createWithUrlFactory((host, port) -> host + ":" + port);
  }

  public static ServerFactory createWithUrlFactory(UrlFactory urlFactory) {
    return createWithUrlFactoryAndPortSupplier(urlFactory, () -> 0);
  }

  public static ServerFactory createWithPortSupplier(Supplier<Integer> portSupplier) {
    return createWithUrlFactoryAndPortSupplier((host, port) -> host + ":" + port, portSupplier);
  }

  public static ServerFactory createWithUrlFactoryAndPortSupplier(
      UrlFactory urlFactory, Supplier<Integer> portSupplier) {
    return new ServerFactory() {
      @Override
      public Server allocateAddressAndCreate(
          List<BindableService> services, ApiServiceDescriptor.Builder builder)
          throws IOException {
        Server server = start(services, portSupplier.get());
        String host = InetAddress.getLoopbackAddress().getHostName();
        builder.setUrl(urlFactory.createUrl(host, server.getPort()));
        return server;
      }

      @Override
      public Server create(List<BindableService> services, ApiServiceDescriptor serviceDescriptor)
          throws IOException {
        InetSocketAddress address =
            (InetSocketAddress) SocketAddressFactory.createFrom(serviceDescriptor.getUrl());
        return start(services, address.getPort());
      }
    };
  }

  private static Server start(List<BindableService> services, int port) throws IOException {
    NettyServerBuilder builder =
        NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), port))
            .maxInboundMessageSize(Integer.MAX_VALUE)
            .permitKeepAliveTime(KEEP_ALIVE_TIME_SEC, TimeUnit.SECONDS);
    for (BindableService service : services) {
      builder.addService(
          ServerInterceptors.intercept(service, GrpcContextHeaderAccessorProvider.interceptor()));
    }
    return builder.build().start();
  }
}
